"""Small models as ONNX text, opened and normalised as any other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import parser

from mosaic_onnx.loading.model import OpenedModel
from mosaic_onnx.loading.normalise import Normalised, normalise

HEADER = '<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]> '


def from_text(text: str) -> onnx.ModelProto:
    """A model of operator set 21."""
    return parser.parse_model(HEADER + text)


def opened(model: onnx.ModelProto | str, folder: Path) -> OpenedModel:
    """As the door hands it over, without its checks."""
    made = from_text(model) if isinstance(model, str) else model
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return OpenedModel(made, path, folder, "0" * 64)


def normalised(
    model: onnx.ModelProto | str, folder: Path, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> Normalised:
    """Opened and normalised."""
    return normalise(opened(model, folder), shapes)
