"""Tables of a model before anything is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mosaic_onnx.cli.views.tables import MANY, megabytes, table

if TYPE_CHECKING:
    from rich.table import Table

    from mosaic_onnx.api import Inspection
    from mosaic_onnx.core.graph.signature import TensorSpec


def signature_table(seen: Inspection) -> Table:
    """Return a table of the model's inputs and outputs."""
    every = [("input", one) for one in seen.input_specs] + [("output", one) for one in seen.output_specs]
    rows = [(kind, one.name, one.type, _shape(one)) for kind, one in every]
    return table("inputs and outputs", ("", "name", "type", "shape"), rows, most=MANY)


def _shape(one: TensorSpec) -> str:
    return " x ".join("?" if size is None else str(size) for size in one.shape) or "scalar"


def inspection_table(seen: Inspection) -> Table:
    """Return a table of layers, the tensors that cross the boundary after each, and the devices that can run it."""
    names = [device.name for device in seen.devices]
    rows = []
    for index, layer in enumerate(seen.graph.layers):
        can = [seen.reasons[index].get(name) or "yes" for name in names]
        crossing = f"{len(seen.crossing[index])} / {megabytes(seen.crossing_bytes(index))}"
        macs = f"{sum(seen.facts[index].macs.values()) / 1e6:.4g} M"
        operators = " ".join(layer.op_types[:4])
        rows.append((layer.name, operators, macs, megabytes(layer.parameter_bytes), crossing, *can))
    return table("layers", ("layer", "operators", "MACs", "weights", "crossing after", *names), rows, most=MANY)


def inspection_line(seen: Inspection) -> str:
    """Return the model in one line: layers, multiply-accumulates, weights, activations, devices."""
    words = [f"{len(seen.graph.layers)} layers", f"{seen.mac_count / 1e6:.4g} M multiply-accumulates"]
    words += [f"{megabytes(seen.parameter_bytes)} of weights", f"{megabytes(seen.activation_bytes)} of activations"]
    return ", ".join([*words, f"{len(seen.devices)} devices"])
