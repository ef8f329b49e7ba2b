"""A model as one file with its weights inside, or, beyond what protobuf can hold, with one data file beside it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import external_data_helper

from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.files.weights_file import WeightsFile

MOST_BYTES = 2**31 - 2**20
"""The most that a protobuf message holds (2 GiB), less space for all but the weights."""
DATA_SUFFIX = ".data"


def write_model(model: onnx.ModelProto, folder: str | None, path: Path, most_bytes: int = MOST_BYTES) -> Path | None:
    """Write a model that needs no other file, or one data file beside it; both appear whole or not at all.

    Args:
        model: to write; left as it is.
        folder: where its external data lies; None where it has none.
        path: the file. Its data file, where it needs one, is named after it.
        most_bytes: weights and graph up to so many bytes go inside.

    Returns:
        The data file; None where the weights are inside.

    Raises:
        UsageError: the folder cannot be written.
        ModelError: external data cannot be read.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    temporary: str | None = None
    try:
        temporary = tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.")
        written, data = Path(temporary) / path.name, None
        if copy.ByteSize() + sum(_external_sizes(copy, folder)) <= most_bytes:
            external_data_helper.load_external_data_for_model(copy, folder or "")
        else:
            data = path.with_name(path.name + DATA_SUFFIX)
            with (Path(temporary) / data.name).open("wb") as file:
                WeightsFile(file).move(copy, folder, data.name)
            os.replace(Path(temporary) / data.name, data)
        written.write_bytes(copy.SerializeToString(deterministic=True))
        os.replace(written, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", "name a file in a folder you can write") from error
    except ValueError as error:  # what onnx raises of external data that is not there
        raise ModelError(f"the weights of {path.name} cannot be read: {error}", "compile the model again") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return data


def _external_sizes(model: onnx.ModelProto, folder: str | None) -> Iterator[int]:
    """Bytes of each external tensor."""
    for tensor in external_data_helper._get_all_tensors(model):
        if external_data_helper.uses_external_data(tensor):
            information = external_data_helper.ExternalDataInfo(tensor)
            yield information.length or (Path(folder or ".") / information.location).stat().st_size
