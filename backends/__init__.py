"""Backends: what runs slices. Each is found by the entry point group ``mosaic_onnx.backends``."""
