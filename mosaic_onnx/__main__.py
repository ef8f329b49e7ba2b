"""``python -m mosaic_onnx``: the command line."""

from mosaic_onnx.cli import main

if __name__ == "__main__":
    main()
