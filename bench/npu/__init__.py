"""Benchmarks of the NPU emulator."""
