"""The compiler's pipeline: from a model file to a bundle."""
