"""Which values a model's inputs may take, traced back through its graph."""
