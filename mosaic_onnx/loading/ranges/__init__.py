"""Trace back through a graph which values a model's inputs may take."""
