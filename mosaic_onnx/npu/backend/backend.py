"""The backend of emulated NPUs: ``-d npu:eyeriss``, ``-d npu:own.toml``. Everything it says is simulated.

A device's levels are the dataflows of its array, so that the planner picks the dataflow of each slice together with the
cut. Costs are those of the exact search in each dataflow; outputs are computed by ONNX Runtime on the CPU with every
stored tensor rounded to the NPU's precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import onnx

from mosaic_onnx.backends.base import AbsentDevice, FoundDevices, Memory, Runner, SliceModel
from mosaic_onnx.backends.onnxruntime.backend import OnnxRuntime
from mosaic_onnx.backends.option_model import OptionRule
from mosaic_onnx.backends.simulated.options import CopyLine
from mosaic_onnx.backends.simulated.runner import SimulatedMemory, SimulatedRunner
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, UsageError
from mosaic_onnx.core.graph.graphs import operator_name, subgraphs
from mosaic_onnx.core.graph.layer_facts import LayerFacts
from mosaic_onnx.core.profiles import HOST, Cost, SwitchCost, TransferCost
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.npu.backend.costs import LayerCosts, parts_of, slice_cost
from mosaic_onnx.npu.backend.options import (
    NAME,
    NpuOptions,
    dataflows_of,
    device_of_hardware,
    hardware_of,
    option_rules,
    read_options,
)
from mosaic_onnx.npu.backend.rounding import WHOLE_NUMBERS, rounded, stored_values
from mosaic_onnx.npu.backend.runner import CalibratingRunner
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.hardware.file import preset_names
from mosaic_onnx.npu.layers.arithmetic import ARITHMETIC
from mosaic_onnx.npu.layers.vector import FREE, VECTOR
from mosaic_onnx.npu.search.dataflow import BEST


@dataclass(frozen=True)
class Npu:
    """The backend of emulated NPUs, and the source of their costs (``CostSource``)."""

    name: str = NAME

    def find(self) -> FoundDevices:
        """Return no devices, and how the shipped ones are named."""
        names = ", ".join(preset_names())
        reason = f"emulated; name one with -d {NAME}:NAME (an npu.toml, or {names})"
        return FoundDevices(absent=(AbsentDevice(NAME, NAME, reason),))

    def descriptions(self) -> tuple[str, ...]:
        """Return the names of the shipped NPUs."""
        return preset_names()

    def described(self, description: str) -> tuple[Device, ...]:
        """Return the device of a preset or of an ``npu.toml``.

        Raises:
            UsageError: there is no such preset or file.
            ModelError: the file is wrong.
        """
        return (device_of_hardware(description),)

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        """Return None if the NPU may run an operator of this type, else the reason."""
        operator = operator_name(node)
        refused = hardware_of(read_options(device).hardware).operators.refused
        if operator in refused:
            return refused[operator] or "the hardware's description refuses it"
        if list(subgraphs(node)):
            return "control flow is the host's"
        known = node.op_type in ARITHMETIC or node.op_type in VECTOR or node.op_type in FREE
        return None if known else f"{operator} has no form on the array or the vector unit"

    def load(self, model: SliceModel, device: Device) -> Runner:
        """Load a slice at the NPU's precision, with its simulated time in the device's dataflow.

        Raises:
            BackendError: the NPU or ONNX Runtime cannot run the slice.
            UsageError: the device's options are wrong.
        """
        options = read_options(device)
        hardware = hardware_of(options.hardware)
        dataflow = device.levels[-1].name if device.levels else BEST
        cost = slice_cost(model.model, _costs(hardware, dataflow, options))
        if isinstance(cost, str):
            raise BackendError(f"slice {model.model.graph.name} cannot run on {device.name} (emulated): {cost}")
        inner = _at_precision(model, hardware, device)
        return SimulatedRunner(inner, (cost.seconds + device.slice_seconds) * options.time_scale)

    def memory(self, device: Device) -> Memory | None:
        """Return host memory with the link's simulated transfer times."""
        options = read_options(device)
        line = _line(hardware_of(options.hardware))
        return SimulatedMemory(line, line, options.time_scale)

    def can_crash(self, device: Device) -> bool:
        """Return False: it computes on ONNX Runtime's own CPU provider, which does not crash."""
        return False

    def option_rules(self, device: Device) -> tuple[OptionRule, ...]:
        """Return every option, and whether a bundle may set it."""
        return option_rules()

    def layer_costs(self, facts: Sequence[LayerFacts], device: Device, state: str) -> list[Cost | str]:
        """Return each layer's cost in a dataflow, or the reason why it cannot run there.

        Raises:
            UsageError: the device has no such state, or its options are wrong.
        """
        if state not in device.states:
            raise UsageError(f"device {device.name} has no state {state!r}", f"states: {', '.join(device.states)}")
        options = read_options(device)
        hardware = hardware_of(options.hardware)
        dataflow = state.partition("@")[2] or BEST
        if dataflow not in dataflows_of(hardware):
            raise UsageError(
                f"device {device.name}: {hardware.name} has no dataflow {dataflow!r}",
                f"its levels may be {', '.join(dataflows_of(hardware))}",
            )
        costs = _costs(hardware, dataflow, options)
        return [costs.of(part) for part in parts_of(facts, hardware)]

    def copies(self, device: Device) -> tuple[TransferCost, ...]:
        """Return the costs of transfers over the NPU's link; its energy is not described."""
        return link_costs(hardware_of(read_options(device).hardware), device.name)

    def switches(self, device: Device) -> tuple[SwitchCost, ...]:
        """Return the costs of changing the dataflow; into ``best`` its layers pay for their own mappings."""
        hardware = hardware_of(read_options(device).hardware)
        seconds = hardware.reconfiguration_s
        if not seconds:
            return ()
        return tuple(
            SwitchCost(device.name, before.name, after.name, seconds, seconds * hardware.energy.static_w)
            for before, after in permutations(device.levels, 2)
            if after.name != BEST
        )


def _costs(hardware: Hardware, dataflow: str, options: NpuOptions) -> LayerCosts:
    return LayerCosts(hardware, dataflow, options.objective, Cache())


def link_costs(hardware: Hardware, device: str) -> tuple[TransferCost, ...]:
    """Return the costs of transfers between host and an NPU, in and out."""
    line = _line(hardware)
    return tuple(
        TransferCost(*places, line.seconds_per_byte, line.seconds) for places in ((HOST, device), (device, HOST))
    )


def _line(hardware: Hardware) -> CopyLine:
    return CopyLine(seconds_per_byte=1 / hardware.link.bytes_per_second, seconds=hardware.link.latency_s)


def _at_precision(model: SliceModel, hardware: Hardware, device: Device) -> Runner:
    """Return the slice on ONNX Runtime's CPU, unoptimised, so that nothing is fused over a rounding."""
    precision = hardware.precision.name
    host = Device(device.name, options={"threads": 1, "optimisation": "disabled"})

    def load(one: SliceModel) -> Runner:
        return OnnxRuntime().load(one, host)

    stored = stored_values(model.model, hardware)
    if precision in WHOLE_NUMBERS:
        return CalibratingRunner(model, stored, precision, load, load(model))
    return load(rounded(model, stored, precision, {}))


BACKEND = Npu()
