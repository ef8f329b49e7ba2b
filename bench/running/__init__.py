"""Benchmarks of what runs: slices, sessions, pipelines, memory."""
