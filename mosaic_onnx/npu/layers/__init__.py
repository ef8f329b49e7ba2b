"""Layers as an NPU sees them: loop nests for the array, work for the vector unit, and what is refused with a reason."""
