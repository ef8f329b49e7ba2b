"""Measure the errors of lower precision at the model's outputs: by layer and of the whole plan."""
