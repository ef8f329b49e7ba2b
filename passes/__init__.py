"""Passes, one a file: frozen dataclasses whose fields are their options, called with a state and returning the next.

``base`` holds the contract, ``state`` what flows; the rooms follow the order of the pipeline, which stands in
``mosaic_onnx.pipeline.pipelines``. What passes call stands in the rooms of its subject, and is imported when a pass
runs, so that reading the options of a pass costs nothing.
"""
