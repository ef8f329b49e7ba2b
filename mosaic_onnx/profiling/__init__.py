"""Measure what layers, slices and copies cost on the devices of this machine, and build the profile."""
