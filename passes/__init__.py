"""Passes, one a file: frozen dataclasses whose fields are their options, called with a state and returning the next.

``base`` holds the contract, ``state`` what flows; the rooms follow the order of the pipeline. The passes in order stand in ``mosaic_onnx.pipeline.pipelines``; what
they call stands in the rooms of its subject, and is imported when a pass runs, so that reading the options of a pass
costs nothing.
"""
