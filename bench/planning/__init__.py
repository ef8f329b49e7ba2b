"""Benchmarks of the planner alone."""
