"""Rewrite a model: a set of nodes as a model of its own, and the whole model as one file of slice functions."""
