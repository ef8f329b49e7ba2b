"""The ranges of a model's inputs, traced back through its graph."""
