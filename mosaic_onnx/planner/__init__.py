"""Planner: from a cost table to a plan. Knows no ONNX, no device and no file; one module per method."""
