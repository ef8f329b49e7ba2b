"""Measure layers, slices and transfers on the devices of this machine, and build the profile."""
