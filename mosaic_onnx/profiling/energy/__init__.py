"""Joules of layers and slices: read from meters, stated by descriptions, or modelled from declared power."""
