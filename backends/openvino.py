"""OpenVINO's own runtime on the CPU: f32 and bf16 are two devices, since precision is a device's attribute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx

from mosaic_onnx.backends.base import Absent, Array, Found, KernelTime, Memory, Runner, SliceModel
from mosaic_onnx.backends.cores import can_pin, default_thread_count, parse_cores, pinned
from mosaic_onnx.backends.openvino_claims import unsupported_operator, unsupported_type
from mosaic_onnx.backends.openvino_kernels import RECORDING, kernels_of
from mosaic_onnx.backends.openvino_runner import OpenvinoRunner, Port, short_reason
from mosaic_onnx.backends.ort_types import numpy_type
from mosaic_onnx.devices import Device
from mosaic_onnx.errors import BackendError, MosaicError, UsageError

NAME = "openvino"
_PROPERTY = "properties."
_LARGEST_MESSAGE_BYTES = 2**31 - 2**20
_HINTS = {"f32": "f32", "bf16": "bf16", "f16": "f16"}


@dataclass(frozen=True)
class Options:
    """An OpenVINO device's options.

    Attributes:
        plugin: OpenVINO's device (``CPU``, ``GPU``, ``NPU``).
        threads: inference threads, the calling one included.
        cores: the one core that a single-threaded device is held on.
        properties: OpenVINO's own properties (``properties.KEY``), as they are.
    """

    plugin: str
    threads: int
    cores: frozenset[int] | None
    properties: Mapping[str, str]


@dataclass(frozen=True)
class Openvino:
    """The backend.

    Attributes:
        name: the backend's name in device entries.
    """

    name: str = NAME

    def find(self) -> Found:
        """Devices here; never raises."""
        try:
            import openvino as ov

            core = _core()
            plugins = list(core.available_devices)
            versions = {"openvino": ov.__version__}
            abilities = list(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")) if "CPU" in plugins else []
        except Exception as error:  # a broken installation must be a line, not a crash
            hint = "pip install 'mosaic-onnx[openvino]'" if isinstance(error, ImportError) else "see its message"
            return Found(absent=(Absent("openvino", NAME, f"{error} ({hint})"),))
        devices = [Device("openvino", backend=NAME)] if "CPU" in plugins else []
        absent = [
            Absent(f"openvino {plugin}", NAME, "OpenVINO has it; a device entry makes it a device: docs/devices.md")
            for plugin in plugins
            if plugin != "CPU"
        ]
        if "BF16" in abilities:
            devices.append(Device("openvino-bf16", backend=NAME, precision="bf16"))
        else:
            absent.append(Absent("openvino-bf16", NAME, "this CPU has no bf16 instructions"))
        return Found(tuple(devices), tuple(absent), versions)

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        """None if OpenVINO may take the node, else the reason; loading the slice verifies it."""
        return unsupported_operator(node)

    def load(self, model: SliceModel, device: Device) -> Runner:
        """Compile a slice for a device.

        Raises:
            BackendError: it cannot; the message names slice, device and OpenVINO's own reason.
            UsageError: the device's options are wrong.
        """
        options = read_options(device)
        label = f"slice {model.model.graph.name or ', '.join(model.outputs)!r} on {device.name}"
        inputs = tuple(_port(value, index, label) for index, value in enumerate(_true_inputs(model.model.graph)))
        with _named_failure(label):
            compiled = _compile(model, label, options, _configuration(device, options))
            outputs = tuple(_output_port(compiled, index, name) for index, name in enumerate(_outputs(model)))
        return OpenvinoRunner(compiled, inputs, outputs, label, options.cores)

    def memory(self, device: Device) -> Memory | None:
        """None: OpenVINO's tensors are laid over host arrays."""
        return None

    def can_crash(self, device: Device) -> bool:
        """The CPU plugin is as trusty as ONNX Runtime's own; drivers of other hardware are not."""
        return read_options(device).plugin != "CPU"

    def kernel_times(
        self, model: SliceModel, device: Device, inputs: Mapping[str, Array], budget_s: float
    ) -> tuple[KernelTime, ...]:
        """Each kernel's time from OpenVINO's performance counters.

        Raises:
            BackendError: the slice cannot be compiled or run.
        """
        options = read_options(device)
        label = f"slice {model.model.graph.name or ', '.join(model.outputs)!r} on {device.name}"
        places = [np.ascontiguousarray(inputs[value.name]) for value in _true_inputs(model.model.graph)]
        with _named_failure(label), pinned(options.cores):
            compiled = _compile(model, label, options, _configuration(device, options) | RECORDING)
            return kernels_of(compiled, places, budget_s)


def read_options(device: Device) -> Options:
    """The device's options.

    Raises:
        UsageError: an option is unknown or its value does not fit; the message names device and option.
    """
    known = ("plugin", "threads", "cores")
    for key, value in device.options.items():
        if key not in known and not key.startswith(_PROPERTY):
            raise UsageError(
                f"device {device.name}: option {key!r} is unknown", f"known: {', '.join(known)}, {_PROPERTY}*"
            )
        if key == "threads" and (type(value) is not int or value < 1):
            raise UsageError(f"device {device.name}: threads = {value!r} is not a positive number")
    if device.precision not in _HINTS:
        raise UsageError(f"device {device.name}: OpenVINO cannot compute in {device.precision!r}", "f32, bf16 or f16")
    cores = _cores(device)
    threads = device.options.get("threads", 1 if cores else default_thread_count())
    properties = {
        key.removeprefix(_PROPERTY): str(value) for key, value in device.options.items() if key.startswith(_PROPERTY)
    }
    return Options(str(device.options.get("plugin", "CPU")), int(threads), cores, properties)


def _cores(device: Device) -> frozenset[int] | None:
    """The one core to hold the caller on: OpenVINO runs a single-threaded slice in the calling thread."""
    if "cores" not in device.options:
        return None
    cores = parse_cores(str(device.options["cores"]))
    if len(cores) > 1 or device.options.get("threads", 1) != 1 or not can_pin():
        raise UsageError(
            f"device {device.name}: OpenVINO places its own threads; only a single one can be held on a core",
            "give one core, or threads alone",
        )
    return frozenset(cores)


def _configuration(device: Device, options: Options) -> dict[str, object]:
    """Low latency at the device's own precision: OpenVINO's default would be bf16 where the CPU has it."""
    configuration: dict[str, object] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _HINTS[device.precision],
    }
    if options.plugin == "CPU":
        configuration["INFERENCE_NUM_THREADS"] = options.threads
        configuration["ENABLE_CPU_PINNING"] = False
    return configuration | dict(options.properties)


@cache
def _core() -> Any:
    """One core for the process: it holds OpenVINO's plugins, nothing of a slice."""
    import openvino as ov

    return ov.Core()


def _compile(model: SliceModel, label: str, options: Options, configuration: dict[str, object]) -> Any:
    """The ``ov.CompiledModel``; OpenVINO's own exceptions go through."""
    core = _core()
    graph = core.read_model(_self_contained(model, label))
    return core.compile_model(graph, options.plugin, configuration)


@contextmanager
def _named_failure(label: str) -> Iterator[None]:
    """Turn what OpenVINO raises into a BackendError that names slice and device."""
    try:
        yield
    except MosaicError:
        raise
    except Exception as error:  # OpenVINO raises RuntimeError and more
        raise BackendError(f"{label}: {short_reason(error)}") from error


def _self_contained(model: SliceModel, label: str) -> bytes:
    """The slice as bytes, with functions inlined (OpenVINO knows none) and external weights taken in.

    Raises:
        BackendError: it would pass 2 GiB, the most that one protobuf message holds.
    """
    from onnx import external_data_helper, inliner

    proto = model.model
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    if model.folder is not None:
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        external_data_helper.load_external_data_for_model(copy, model.folder)
        proto = copy
    weight_bytes = sum(len(tensor.raw_data) for tensor in proto.graph.initializer)
    if weight_bytes > _LARGEST_MESSAGE_BYTES:
        raise BackendError(
            f"{label}: its weights are {weight_bytes / 1e9:.1f} GB, more than OpenVINO can be handed at once (2 GiB)",
            "cap its slices: --slice-memory",
        )
    return proto.SerializeToString()


def _true_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def _port(value: onnx.ValueInfoProto, index: int, label: str) -> Port:
    tensor = value.type.tensor_type
    reason = unsupported_type(value.type)
    if reason is not None:
        raise BackendError(f"{label}: input {value.name!r}: {reason}")
    dims: tuple[int | None, ...] | None = None
    if tensor.HasField("shape"):
        dims = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
    return Port(value.name, index, numpy_type(tensor.elem_type), dims)


def _outputs(model: SliceModel) -> tuple[str, ...]:
    return tuple(value.name for value in model.model.graph.output)


def _output_port(compiled: Any, index: int, name: str) -> Port:
    output = compiled.outputs[index]
    shape = output.get_partial_shape()
    dims = None if shape.rank.is_dynamic else tuple(None if dim.is_dynamic else dim.get_length() for dim in shape)
    dtype = numpy_type(onnx.TensorProto.BFLOAT16) if output.element_type.get_type_name() == "bf16" else None
    return Port(name, index, dtype or output.element_type.to_dtype(), dims)


BACKEND = Openvino()
