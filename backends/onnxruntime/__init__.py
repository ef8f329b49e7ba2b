"""ONNX Runtime: its CPU provider, and any built-in or plugin execution provider by a device entry."""
