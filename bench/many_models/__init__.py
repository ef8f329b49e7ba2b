"""Benchmarks of scenarios: many models on one machine."""
