"""mosaic-onnx inside other toolchains: a pass of ``onnx_ir``, and graphs of ONNX GraphSurgeon in and out.

Each module imports its library when it is imported itself; nothing else of mosaic-onnx imports this room.
"""
