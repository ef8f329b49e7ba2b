"""Backends run slices. They are found by the entry point group ``mosaic_onnx.backends``."""
