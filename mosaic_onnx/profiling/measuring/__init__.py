"""Measure one device, in this process or in a child process: slices, kernels, copies."""
