"""Benchmarks of profiling and compilation, and of what they deliver."""
