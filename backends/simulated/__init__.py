"""Simulated devices: real outputs, times from a description."""
