"""The costs of a mapping: traffic at every level, latency (analytical and cycle by cycle), energy."""
