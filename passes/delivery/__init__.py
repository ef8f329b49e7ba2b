"""Passes that make the result: rewrite the model, choose by running, correct the prediction, verify."""
