"""Build one of the paper's ten workloads as an ONNX file: ``python examples/zoo.py squeezenet -o squeezenet.onnx``.

The definitions are in ``mosaic_onnx.zoo``, layer by layer, so that an installed package can rebuild them too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx

from mosaic_onnx.zoo import WORKLOADS, build


def main() -> None:
    """Parse the command line, build, write."""
    parser = argparse.ArgumentParser(description="Build one of the paper's workloads with seeded weights.")
    parser.add_argument("name", choices=list(WORKLOADS), help="which network")
    parser.add_argument("-o", "--output", type=Path, help="where to write it (default: NAME.onnx)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights (default: 0)")
    options = parser.parse_args()
    output = options.output or Path(f"{options.name}.onnx")
    output.parent.mkdir(parents=True, exist_ok=True)
    model = build(options.name, options.seed)
    onnx.save_model(model, output)
    print(f"{output}: {len(model.graph.node)} nodes, {output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
