"""Rewriting a model: any set of nodes as a model of its own, and the whole as one file of slice functions."""
