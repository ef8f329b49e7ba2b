"""Exact methods on one order of the layers: dynamic programs over intervals, and label setting."""
