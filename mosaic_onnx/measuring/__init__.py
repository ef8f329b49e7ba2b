"""Measuring: what slices, kernels and copies cost on the devices of this machine."""
