"""Checks of tensors in an untrusted model: type, dimensions, payload, and the place of external data."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path, PurePosixPath

import onnx

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.graph.tensors import element_bits, is_external, is_known_type, tensor_bytes

_T = onnx.TensorProto
_TYPED_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
_FIELD_OF: dict[int, str] = {
    **dict.fromkeys((_T.FLOAT, _T.COMPLEX64), "float_data"),
    **dict.fromkeys((_T.DOUBLE, _T.COMPLEX128), "double_data"),
    _T.INT64: "int64_data",
    **dict.fromkeys((_T.UINT32, _T.UINT64), "uint64_data"),
    _T.STRING: "string_data",
}
_EXTERNAL_KEYS = {"location", "offset", "length", "checksum", "basepath"}
MAX_RANK = 1024


class TensorChecker:
    """Checks the tensors of one model; each external file is inspected once.

    Args:
        folder: the model's folder, where external data must lie.
        max_dense_bytes: cap on the dense form of a sparse tensor.
    """

    def __init__(self, folder: Path, max_dense_bytes: int) -> None:
        self._folder = Path(os.path.realpath(folder))
        self._max_dense_bytes = max_dense_bytes
        self._file_bytes: dict[str, int] = {}
        self.external_bytes = 0

    def check(self, tensor: onnx.TensorProto, where: str) -> None:
        """Raise ``ModelError`` if a tensor's type, dimensions, payload or external file is wrong.

        Raises:
            ModelError: naming the tensor and the fault.
        """
        what = f"tensor {tensor.name!r} of {where}" if tensor.name else f"the tensor in {where}"
        if not is_known_type(tensor.data_type):
            raise ModelError(f"{what} has the unknown element type {tensor.data_type}")
        count = _element_count(tensor.dims, what)
        if tensor.HasField("segment"):
            raise ModelError(f"{what} is stored in segments, which no runtime reads", "save it in one piece")
        filled = [field for field in _TYPED_FIELDS if len(getattr(tensor, field))]
        filled += ["raw_data"] if tensor.HasField("raw_data") else []
        if is_external(tensor):
            if filled and (filled != ["raw_data"] or tensor.raw_data):
                raise ModelError(f"{what} has both external data and {filled[0]}")
            self._check_external(tensor, what)
            return
        if len(filled) > 1:
            raise ModelError(f"{what} stores its data twice: in {' and '.join(filled)}")
        _check_payload(tensor, count, filled[0] if filled else "", what)

    def check_sparse(self, sparse: onnx.SparseTensorProto, where: str) -> None:
        """Raise ``ModelError`` if a sparse tensor has external or ill-formed parts, or too large a dense form.

        Raises:
            ModelError: naming the tensor and the fault.
        """
        name = sparse.values.name
        what = f"sparse tensor {name!r} of {where}"
        for part, tensor in (("values", sparse.values), ("indices", sparse.indices)):
            if is_external(tensor) or tensor.external_data:
                raise ModelError(f"{what} keeps its {part} in external data, which no runtime reads", "store it inline")
            self.check(tensor, f"{where} ({part} of sparse tensor {name!r})")
        if sparse.indices.data_type != _T.INT64:
            raise ModelError(f"the indices of {what} are not int64")
        count = _element_count(sparse.dims, what)
        dense_bytes = -(-count * (element_bits(sparse.values.data_type) or 64) // 8)
        if dense_bytes > self._max_dense_bytes:
            raise ModelError(f"{what} unfolds to {dense_bytes} bytes, more than {self._max_dense_bytes}")
        stored = math.prod(sparse.values.dims)
        if len(sparse.values.dims) != 1 or stored > count:
            raise ModelError(f"{what} holds {stored} values for {count} places")

    def _check_external(self, tensor: onnx.TensorProto, what: str) -> None:
        if tensor.data_type == _T.STRING:
            raise ModelError(f"{what} is of strings, which cannot be external data")
        words = _entry_words(tensor, what)
        offset, length = _number(words, "offset", what), _number(words, "length", what)
        location = words.get("location", "")
        file_bytes = self.check_file(location, what)
        needed = tensor_bytes(tensor.data_type, tuple(tensor.dims))
        start = offset or 0
        stored = needed if length is None else length
        if stored != needed:
            raise ModelError(f"{what} needs {needed} bytes, and its external data is {stored} bytes long")
        if start + stored > file_bytes:
            raise ModelError(
                f"{what} lies at bytes {start}–{start + stored} of {location!r}, which has only {file_bytes}",
                "the file is truncated or belongs to another model: download or export it again",
            )
        self.external_bytes += stored

    def check_file(self, location: str, what: str) -> int:
        """Return the bytes of an external file, which must lie inside the folder, be regular, and have one name.

        Raises:
            ModelError: it does not.
        """
        if location in self._file_bytes:
            return self._file_bytes[location]
        hint = "external data must lie in the model's folder or below, as a regular file of its own"
        parts = PurePosixPath(location).parts
        # "*" starts ONNX Runtime's own marker for addresses in memory; ":" names a stream or a drive on Windows.
        odd = not location or location.startswith(("/", "*")) or any(c in location for c in ("\0", "\\"))
        odd = odd or (os.name == "nt" and ":" in location)
        if odd or ".." in parts or len(location) > 4096:
            raise ModelError(
                f"{what} has its external data at {location[:200]!r}, which is not a path inside the folder", hint
            )
        path = self._folder.joinpath(*parts)
        if Path(os.path.realpath(path)) != path:
            raise ModelError(f"{what} has its external data through a symbolic link: {location!r}", hint)
        try:
            found = os.lstat(path)
        except OSError as error:
            fix = f"put {location!r} beside the model"
            raise ModelError(f"{what} has its external data in {location!r}: {error.strerror}", fix) from None
        if not stat.S_ISREG(found.st_mode):
            raise ModelError(f"{what} has its external data in {location!r}, which is not a regular file", hint)
        if found.st_nlink != 1:
            fix = "it may be a hard link to a file elsewhere: copy it"
            raise ModelError(f"{what} has its external data in {location!r}, a file with {found.st_nlink} names", fix)
        self._file_bytes[location] = found.st_size
        return found.st_size


def _element_count(dims: object, what: str) -> int:
    """Return the product of the dimensions, which must be non-negative and fit 63 bits."""
    sizes = [int(size) for size in dims]  # type: ignore[attr-defined]
    if len(sizes) > MAX_RANK:
        raise ModelError(f"{what} has {len(sizes)} dimensions, more than {MAX_RANK}")
    negative = [size for size in sizes if size < 0]
    if negative:
        raise ModelError(f"{what} has the negative dimension {negative[0]}")
    # A zero makes the product small, but runtimes may multiply the others first: check those alone too.
    if math.prod(size for size in sizes if size) >= 2**56:
        raise ModelError(f"{what} has dimensions whose product does not fit: {sizes[:8]}")
    return math.prod(sizes)


def _check_payload(tensor: onnx.TensorProto, count: int, field: str, what: str) -> None:
    """Raise ``ModelError`` unless inline data is in the type's own field and as long as the dimensions demand."""
    kind = _T.DataType.Name(tensor.data_type) if tensor.data_type in _T.DataType.values() else str(tensor.data_type)
    if field in ("", "raw_data"):
        if field and tensor.data_type == _T.STRING:
            raise ModelError(f"{what} is of strings and has raw data")
        needed = tensor_bytes(tensor.data_type, tuple(tensor.dims)) if tensor.data_type != _T.STRING else count
        stored = len(tensor.raw_data)
        unit = "bytes"
    else:
        if field != _FIELD_OF.get(tensor.data_type, "int32_data"):
            raise ModelError(f"{what} is of type {kind} and stores its data in {field}")
        needed, stored, unit = _entry_count(tensor.data_type, count), len(getattr(tensor, field)), "values"
    if needed != stored:
        dims = [int(size) for size in tensor.dims]
        raise ModelError(f"{what} of type {kind} and dimensions {dims[:8]} needs {needed} {unit} and has {stored}")


def _entry_count(element_type: int, count: int) -> int:
    """Return the entries of the typed field for so many elements: packed types share one, complex ones take two."""
    if element_type in (_T.COMPLEX64, _T.COMPLEX128):
        return 2 * count
    per_entry = {4: 2, 2: 4}.get(element_bits(element_type), 1)
    return -(-count // per_entry)


def _entry_words(tensor: onnx.TensorProto, what: str) -> dict[str, str]:
    words: dict[str, str] = {}
    for entry in tensor.external_data:
        if entry.key not in _EXTERNAL_KEYS:
            raise ModelError(f"{what} has the unknown external-data key {str(entry.key)[:80]!r}")
        if entry.key in words:
            raise ModelError(f"{what} gives the external-data key {entry.key!r} twice")
        words[entry.key] = entry.value
    return words


def _number(words: dict[str, str], key: str, what: str) -> int | None:
    """Return a non-negative number of an external-data entry; None where the key is absent."""
    text = words.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise ModelError(f"{what} has the external-data {key} {text[:80]!r}, which is not a non-negative integer")
    return int(text)
