"""Load, run and time bundles and plain models."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.core.graph.signature import given_inputs, tensor_specs
from mosaic_onnx.discovery.selection import Selection, select
from mosaic_onnx.files.atomic import write_atomically
from mosaic_onnx.files.bundle import Bundle, read_bundle
from mosaic_onnx.loading.inputs import make_inputs, read_arrays, read_inputs
from mosaic_onnx.loading.shape_choices import ShapeChoices, only_combination
from mosaic_onnx.pipeline.benchmarking import Benchmark, benchmark
from mosaic_onnx.pipeline.load_session import SessionOptions, load_model, load_session
from mosaic_onnx.pipeline.open_bundle import bind_bundle
from mosaic_onnx.pipeline.options import PathLike
from mosaic_onnx.pipeline.throughput_benchmark import ThroughputBenchmark, throughput_benchmark
from mosaic_onnx.runtime.arguments import as_feeds
from mosaic_onnx.runtime.repeated_runs import RunResult, run_repeatedly
from mosaic_onnx.runtime.session import Session
from mosaic_onnx.runtime.shaped_session import ShapedSession


def load(
    source: Bundle | PathLike,
    *,
    devices: Sequence[str] = (),
    input_shapes: ShapeChoices | None = None,
    options: SessionOptions | None = None,
    trust: bool = False,
) -> Session | ShapedSession:
    """Load a bundle once, to be run many times; or a plain model, uncut, on one device.

    The session takes ``run(feeds)`` or ONNX Runtime's ``run(output_names, feeds)``, and ``run_async`` for a future. Any
    thread may call it, and several requests may be under way: see ``runtime.session.Session``. Close it, or use it as a
    context manager.

    Args:
        source: a bundle, its folder, or a model's file.
        devices: of a bundle: devices of this machine that take the place of the bundle's by name (names, devices files
            or shipped descriptions); of a plain model: the device that runs it, none for the first of the default set.
        input_shapes: shapes of a plain model's dynamic inputs.
        options: how many requests may be under way and wait, and whose workers run them.
        trust: take what the bundle says of its devices, though it may name libraries to load and folders to write.

    Raises:
        ModelError: the bundle or model is wrong.
        UsageError: a device of the bundle is not here, or the arguments do not fit.
        BackendError: a slice cannot be loaded.
    """
    if not isinstance(source, Bundle) and Path(source).is_file():
        selection = _one_device(devices)
        return load_model(Path(source), selection, only_combination(input_shapes or {}), options)[0]
    if input_shapes:
        raise UsageError("a bundle's input shapes were settled when it was compiled", "leave them out")
    return load_session(open_bundle(source, devices, trust=trust), options)


def _one_device(words: Sequence[str]) -> Selection:
    """The device that runs a plain model.

    Raises:
        UsageError: several are named, or one that is not here.
    """
    selection = select(words)
    if words and len(selection.chosen) != 1:
        names = ", ".join(device.name for device in selection.chosen)
        raise UsageError(f"a plain model runs on one device, and -d names {names}", "name one, or compile the model")
    return selection


def run(
    source: Bundle | PathLike,
    inputs: Mapping[str, Array] | Array | PathLike | None = None,
    *,
    seed: int = 0,
    iterations: int = 1,
    warmup: int | None = None,
    devices: Sequence[str] = (),
    input_shapes: ShapeChoices | None = None,
    trust: bool = False,
    options: SessionOptions | None = None,
) -> RunResult:
    """Load and run a bundle, or a plain model on one device; ``load`` keeps it for further runs.

    Args:
        source: a bundle, its folder, or a model's file.
        inputs: arrays by name (the array alone where there is one input), or a .npz or .npy file; None makes them up
            from ``seed``.
        seed: of made-up inputs.
        iterations: timed runs.
        warmup: runs before those; None for some, for about a second at most.
        devices: of a bundle: devices of this machine that take the place of the bundle's by name (names, devices files
            or shipped descriptions); of a plain model: the device that runs it, none for the first of the default set.
        input_shapes: shapes of a plain model's dynamic inputs.
        trust: take what the bundle says of its devices, though it may name libraries to load and folders to write.
        options: what is isolated, limited, validated, and falls back.

    Raises:
        ModelError: the bundle, model or inputs are wrong.
        UsageError: a device of the bundle is not here, or the arguments do not fit.
        BackendError: a device failed.
    """
    if iterations < 1:
        raise UsageError(f"{iterations} iterations: there is nothing to run", "give at least one")
    if not isinstance(source, Bundle) and Path(source).is_file():
        shapes, given = only_combination(input_shapes or {}), _arrays(inputs)
        plain, model = load_model(Path(source), _one_device(devices), shapes, options, given)
        with plain:
            return run_repeatedly(plain, _inputs_of(model, inputs, seed), iterations, warmup)
    bundle = open_bundle(source, devices, trust=trust)
    fed = bundle_inputs(bundle, inputs, seed)
    with load(bundle, input_shapes=input_shapes, options=options) as session:
        return run_repeatedly(session, fed, iterations, warmup)


def _arrays(inputs: Mapping[str, Array] | Array | PathLike | None) -> Mapping[str, Array]:
    """Return given inputs by name, the empty name for an array alone; none where they are made up."""
    if inputs is None or isinstance(inputs, Mapping):
        return inputs or {}
    return {"": inputs} if isinstance(inputs, np.ndarray) else read_arrays(Path(inputs))


def bench(
    bundle: Bundle | PathLike,
    inputs: Mapping[str, Array] | PathLike | None = None,
    *,
    seed: int = 0,
    iterations: int = 100,
    warmup: int = 10,
    devices: Sequence[str] = (),
    trust: bool = False,
) -> Benchmark:
    """Time a bundle: latencies, throughput, slices and transfers measured beside predicted.

    Args:
        bundle: the bundle or its folder.
        inputs: arrays by name, or a .npz or .npy file; None makes them up from ``seed``.
        seed: of made-up inputs.
        iterations: timed runs.
        warmup: runs before those.
        devices: devices of this machine that take the place of the bundle's by name: names, devices files or shipped
            descriptions.
        trust: take what the bundle says of its devices, though it may name libraries to load and folders to write.

    Raises:
        ModelError: the bundle or the inputs are wrong.
        UsageError: a device of the bundle is not here, or there is nothing to time.
        BackendError: a device failed.
    """
    if iterations < 1:
        raise UsageError(f"{iterations} iterations: there is nothing to time", "give at least one")
    opened = open_bundle(bundle, devices, trust=trust)
    return benchmark(opened, bundle_inputs(opened, inputs, seed), iterations, warmup)


def bench_throughput(
    bundle: Bundle | PathLike,
    inputs: Mapping[str, Array] | PathLike | None = None,
    *,
    seed: int = 0,
    seconds: float = 3.0,
    devices: Sequence[str] = (),
    trust: bool = False,
) -> ThroughputBenchmark:
    """Measure requests a second at rising load, beside the prediction, one session, and OpenVINO's throughput hint.

    Args:
        bundle: the bundle or its folder.
        inputs: of every request: arrays by name, or a .npz or .npy file; None makes them up from ``seed``.
        seed: of made-up inputs.
        seconds: how long each figure is measured.
        devices: devices of this machine that take the place of the bundle's by name.
        trust: take what the bundle says of its devices, though it may name libraries to load and folders to write.

    Raises:
        ModelError: the bundle or the inputs are wrong.
        UsageError: a device of the bundle is not here.
        BackendError: a device failed.
    """
    opened = replace(open_bundle(bundle, devices, trust=trust), shapes=())
    return throughput_benchmark(opened, bundle_inputs(opened, inputs, seed), seconds)


def open_bundle(bundle: Bundle | PathLike, devices: Sequence[str], *, trust: bool) -> Bundle:
    """The bundle, read and bound to this machine's devices."""
    return bind_bundle(bundle if isinstance(bundle, Bundle) else read_bundle(bundle), devices, trust=trust)


def bundle_inputs(
    bundle: Bundle, inputs: Mapping[str, Array] | Array | PathLike | None, seed: int = 0
) -> Mapping[str, Array]:
    """Return the inputs of a bundle's run: given arrays, a file, or made up.

    Raises:
        ModelError: they are not the model's inputs.
        UsageError: one array, and the model has several inputs.
    """
    if isinstance(inputs, Mapping | np.ndarray):
        return as_feeds(inputs, bundle.input_specs)
    return _shape_of_inputs(bundle, inputs, seed)[1]


def _shape_of_inputs(
    bundle: Bundle, inputs: Mapping[str, Array] | Array | PathLike | None, seed: int
) -> tuple[Bundle, Mapping[str, Array]]:
    """The bundle as it is for the shapes of its inputs, and the inputs.

    Raises:
        ModelError: they are the inputs of none of its shapes; said of the first.
    """
    refusal: ModelError | None = None
    for one in (replace(bundle, shapes=()), *bundle.shapes):
        try:
            return one, _inputs_of(one.original(), inputs, seed)
        except ModelError as error:
            refusal = refusal or error
    raise refusal or ModelError(f"{bundle.folder} holds no model")


def _inputs_of(
    model: onnx.ModelProto, inputs: Mapping[str, Array] | Array | PathLike | None, seed: int
) -> Mapping[str, Array]:
    """Given arrays, a file, or made up."""
    if isinstance(inputs, Mapping | np.ndarray):
        return as_feeds(inputs, tensor_specs(given_inputs(model.graph)))
    return make_inputs(model, seed) if inputs is None else read_inputs(Path(inputs), model)


def write_arrays(arrays: Mapping[str, Array], path: PathLike) -> None:
    """Write arrays as .npz (or one array as .npy), whole or not at all.

    Raises:
        ModelError: a .npy file is asked for and there are several arrays.
    """
    buffer = io.BytesIO()
    if Path(path).suffix == ".npy":
        if len(arrays) != 1:
            raise ModelError(f"{path}: a .npy file holds one array, there are {len(arrays)}", "name a .npz file")
        np.save(buffer, next(iter(arrays.values())), allow_pickle=False)
    else:
        np.savez(buffer, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})
    write_atomically(path, buffer.getvalue())
