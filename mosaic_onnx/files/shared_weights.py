"""The weights of a model that is being compiled: in one file, in memory if it fits, which every process maps.

A model file with its weights inside would be copied for each slice that a process loads, and by some runtimes again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from mosaic_onnx.core.graph.tensors import external_bytes, external_entry, is_external, weight_bytes
from mosaic_onnx.core.process.shared_folder import SharedFolder
from mosaic_onnx.files.weights_file import Source, WeightsFile

LEAST_BYTES = 4 << 20
"""Fewer bytes of weights are copied faster than they are told apart."""
MOST_BYTES = 1 << 30
"""More bytes of weights stay where they are."""
MOST_COPIED_BYTES = 1 << 28
"""More bytes that lie in a file of their own already stay there: most runtimes map that one."""
_MOST_SHARE = 0.25
"""The weights take at most so much of the free space."""
_FILE = "weights"


@dataclass(frozen=True)
class SharedWeights:
    """Weights in a file of their own.

    Attributes:
        folder: of the file, which is gone with the last who holds it.
        digests: content digests of its parts, and of those of the files from which they came.
    """

    folder: SharedFolder
    digests: Mapping[Source, bytes]

    @property
    def path(self) -> Path:
        """Return the folder's path."""
        return self.folder.path


def share_weights(model: onnx.ModelProto, folder: str) -> SharedWeights | None:
    """Move the weights of a model into a file; the model then refers to them.

    Args:
        model: changed in place.
        folder: where its external data lies now.

    Returns:
        The file; None where the weights stay where they are, being few, or too many for the free space.

    Raises:
        ModelError: external data ends early.
    """
    size = weight_bytes(model.graph)
    if not LEAST_BYTES <= size <= MOST_BYTES or external_bytes(model) > MOST_COPIED_BYTES:
        return None
    moved = onnx.ModelProto()
    for place in (None, tempfile.gettempdir()):  # containers often have little memory for files
        try:
            shared = SharedFolder(place)
            if size > _MOST_SHARE * shutil.disk_usage(shared.path).free:
                continue
            moved.CopyFrom(model)
            with (shared.path / _FILE).open("wb") as file:
                weights = WeightsFile(file)
                weights.move(moved, folder, _FILE)
        except OSError:  # it is full after all, or cannot be written
            continue
        model.CopyFrom(moved)
        return SharedWeights(shared, weights.digests | _digests(moved, shared.path / _FILE, weights))
    return None


def _digests(model: onnx.ModelProto, file: Path, weights: WeightsFile) -> dict[Source, bytes]:
    """Return the content digests of a model's weights in the file that they were moved to.

    Empty weights are left out: the next weight begins where they do.
    """
    by_offset = {offset: digest for digest, offset in weights.offsets.items()}
    entries = (external_entry(tensor) for tensor in model.graph.initializer if is_external(tensor))
    return {(file, entry.offset, entry.length): by_offset[entry.offset] for entry in entries if entry.length}
