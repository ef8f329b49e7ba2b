"""What a mapping costs: traffic at every level, latency (analytical and cycle by cycle), energy."""
