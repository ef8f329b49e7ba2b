"""Errors of lower precision: on which samples, from which layer, and of the whole, measured at the model's outputs."""
