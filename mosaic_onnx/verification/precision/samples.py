"""Sample inputs and the original model's outputs for them, on which errors are measured.

A file of samples is a ``.npz`` (or a ``.npy`` for a model of one input) with an array for each input, which holds the
samples along the first axis: ``[N, *shape]`` for an input of ``shape``, or ``[N * shape[0], *shape[1:]]``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.loading.inputs import check_inputs, fixed_shape, make_inputs, model_inputs, read_arrays
from mosaic_onnx.verification.reference import Reference

DRAWN_COUNT = 8
"""Samples that are drawn where none are given, as far as the reference computes them in ``DRAWN_S``."""
DRAWN_S = 6.0


@dataclass(frozen=True)
class Sample:
    """One run of the model: its inputs, and the outputs of the original, unoptimised model."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


@dataclass(frozen=True)
class Samples:
    """The samples on which errors are measured; there is at least one.

    Attributes:
        runs: the samples.
        origin: their source, in words.
    """

    runs: tuple[Sample, ...]
    origin: str


def read_samples(path: Path, model: onnx.ModelProto) -> list[dict[str, Array]]:
    """Return the inputs of every sample in a file.

    Raises:
        ModelError: the file cannot be read, or its arrays are not samples of the model's inputs.
    """
    wanted = {value.name: fixed_shape(value) for value in model_inputs(model)}
    arrays = read_arrays(path)
    if set(arrays) == {""} and len(wanted) == 1:
        arrays = {next(iter(wanted)): arrays[""]}
    parts = {name: _cut(array, wanted[name], name, path) for name, array in arrays.items() if name in wanted}
    counts = {name: len(part) for name, part in parts.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        words = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise ModelError(f"{path}: every input must have as many samples, and one at least; there are {words}")
    strange = {name: array for name, array in arrays.items() if name not in wanted}
    count = next(iter(counts.values()), 1)
    return [
        check_inputs({**strange, **{name: part[number] for name, part in parts.items()}}, model, str(path))
        for number in range(count)
    ]


def _cut(array: Array, shape: tuple[int, ...], name: str, path: Path) -> list[Array]:
    """Return the samples of one input: [N, *shape], or [N · shape[0], *shape[1:]]."""
    if array.ndim == len(shape) + 1 and array.shape[1:] == shape:
        return list(array)
    has_batches = shape and array.ndim == len(shape) and array.shape[1:] == shape[1:] and shape[0] > 0
    if has_batches and array.shape[0] % shape[0] == 0:
        return np.split(array, array.shape[0] // shape[0]) if array.shape[0] else []
    raise ModelError(
        f"{path}: input {name} has shape {list(array.shape)}, which is not a row of samples of shape {list(shape)}",
        f"stack whole inputs along the first axis: [N, {', '.join(map(str, shape))}]",
    )


def gather_samples(
    model: onnx.ModelProto,
    folder: str | None,
    inputs: Mapping[str, Array],
    *,
    file: Path | None = None,
    inputs_file: Path | None = None,
    seed: int = 0,
) -> Samples:
    """Return the samples of a file, else the given inputs, else samples drawn from a seed.

    Args:
        model: normalised.
        folder: where its external data lies.
        inputs: the inputs that the model is compiled with; always the first sample unless ``file`` alone is given.
        file: samples; None for none.
        inputs_file: the file of ``inputs``; None where they were drawn.
        seed: for drawing samples.

    Raises:
        ModelError: the file is wrong, or there is no reference for this model.
        BackendError: the reference cannot run on a sample.
    """
    if file is not None:
        wanted = read_samples(file, model)
        origin = f"{len(wanted)} of {file.name}"
        if inputs_file is not None:
            wanted, origin = [dict(inputs), *wanted], f"{origin} and the inputs of {inputs_file.name}"
    elif inputs_file is not None:
        wanted, origin = [dict(inputs)], f"the inputs of {inputs_file.name}"
    else:
        wanted, origin = [], ""
    reference = Reference(model, folder)
    try:
        if wanted:
            return Samples(tuple(Sample(one, reference.run(one)) for one in wanted), origin)
        return _drawn(model, reference, inputs, seed)
    finally:
        reference.close()


def _drawn(model: onnx.ModelProto, reference: Reference, inputs: Mapping[str, Array], seed: int) -> Samples:
    """Return the inputs drawn from the seed, and from the next seeds while there is time."""
    began = time.monotonic()
    runs = [Sample(inputs, reference.run(inputs))]
    while len(runs) < DRAWN_COUNT and inputs and time.monotonic() - began < DRAWN_S:
        more = make_inputs(model, seed + len(runs))
        runs.append(Sample(more, reference.run(more)))
    seeds = f"seeds {seed} to {seed + len(runs) - 1}" if len(runs) > 1 else f"seed {seed}"
    return Samples(tuple(runs), f"drawn at random from {seeds}: no --samples were given")
