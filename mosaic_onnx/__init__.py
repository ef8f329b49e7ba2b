"""mosaic-onnx: partition an ONNX model across the unequal devices of a machine."""

__version__ = "0.1.0"
