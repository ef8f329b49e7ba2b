"""Simulated devices: outputs are computed by ONNX Runtime on the CPU, times are simulated from a description.

A description is a ``devices.toml`` whose devices name this backend; ``hikey970`` ships with the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import onnx

from mosaic_onnx.backends.base import AbsentDevice, FoundDevices, Memory, Runner, SliceModel
from mosaic_onnx.backends.onnxruntime.backend import OnnxRuntime
from mosaic_onnx.backends.option_model import OptionRule
from mosaic_onnx.backends.simulated.cost_law import (
    noise_factor,
    parameter_bytes,
    power_w,
    refused_operator,
    seconds_at,
    share,
    slowdown,
)
from mosaic_onnx.backends.simulated.options import CopyLine, SimulatedOptions, option_rules, read_options
from mosaic_onnx.backends.simulated.runner import SimulatedMemory, SimulatedRunner
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.graph.layer_facts import LayerFacts
from mosaic_onnx.core.profiles import HOST, Cost, SwitchCost, TransferCost

NAME = "simulated"


@dataclass(frozen=True)
class Simulated:
    """The backend of described devices, and the source of their costs (``CostSource``)."""

    name: str = NAME

    def find(self) -> FoundDevices:
        """Return no devices, and the shipped descriptions as absent: they are named with ``-d``."""
        from mosaic_onnx.data import shipped_descriptions

        reason = "a simulated description; name it with -d"
        return FoundDevices(
            absent=tuple(AbsentDevice(name, NAME, f"{reason} {name}") for name in shipped_descriptions())
        )

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        """Return None if the description has the node's operator type, else the reason."""
        refused = refused_operator((node.op_type,), read_options(device))
        return _lacks(refused) if refused else None

    def load(self, model: SliceModel, device: Device) -> Runner:
        """Load the slice on ONNX Runtime's CPU provider, with its simulated time on the described device.

        Raises:
            BackendError: ONNX Runtime cannot run the slice.
            UsageError: the device's options are wrong.
        """
        options = read_options(device)
        inner = OnnxRuntime().load(model, Device(device.name, options={"threads": 1}))
        return SimulatedRunner(inner, slice_seconds(model.model, device) * options.time_scale)

    def memory(self, device: Device) -> Memory | None:
        """Return host memory with simulated transfer times; None where the device shares host memory."""
        options = read_options(device)
        if options.copy_in is None or options.copy_out is None:
            return None
        return SimulatedMemory(options.copy_in, options.copy_out, options.time_scale)

    def can_crash(self, device: Device) -> bool:
        """Return False: it computes on ONNX Runtime's own CPU provider, which does not crash."""
        return False

    def option_rules(self, device: Device) -> tuple[OptionRule, ...]:
        """Return every option, and whether a bundle may set it."""
        return option_rules()

    def layer_cost(self, facts: LayerFacts, device: Device, state: str) -> Cost | str:
        """Return the layer's cost in a state, or the reason why the state cannot run it.

        Raises:
            UsageError: the device has no such state, or its options are wrong.
        """
        return self.layer_costs((facts,), device, state)[0]

    def layer_costs(self, facts: Sequence[LayerFacts], device: Device, state: str) -> list[Cost | str]:
        """Return ``layer_cost`` of many layers.

        Raises:
            UsageError: the device has no such state, or its options are wrong.
        """
        options, level = read_options(device), level_of(device, state)
        factor, watts = slowdown(device, level), power_w(device, level, options)
        return [_cost(one, options, state, factor, watts) for one in facts]

    def copies(self, device: Device) -> tuple[TransferCost, ...]:
        """Return the costs of transfers to and from the device's memory; empty where it shares host memory."""
        options = read_options(device)
        if options.copy_in is None or options.copy_out is None:
            return ()
        return (
            _copy(HOST, device.name, options.copy_in, options),
            _copy(device.name, HOST, options.copy_out, options),
        )

    def switches(self, device: Device) -> tuple[SwitchCost, ...]:
        """Return the costs of changing the device's level; empty where it is free."""
        options = read_options(device)
        if not (options.switch_seconds or options.switch_joules):
            return ()
        return tuple(
            SwitchCost(device.name, before.name, after.name, options.switch_seconds, options.switch_joules)
            for before, after in permutations(device.levels, 2)
        )


def _cost(facts: LayerFacts, options: SimulatedOptions, state: str, factor: float, watts: float | None) -> Cost | str:
    """Return a layer's cost in a state with a slowdown and a power, or the reason why it cannot run."""
    refused = refused_operator(facts.op_types, options)
    if refused:
        return _lacks(refused)
    seconds = seconds_at(share(facts, options), factor, options.overlap)
    seconds *= noise_factor(options, "seconds", state, facts.name)
    joules = None if watts is None else watts * seconds * noise_factor(options, "joules", state, facts.name)
    return Cost(
        seconds=seconds,
        joules=joules,
        parameter_bytes=parameter_bytes(facts, options),
        activation_bytes=facts.buffered_bytes if options.buffered_activations else None,
        source="simulated",
    )


def level_of(device: Device, state: str) -> Level | None:
    """Return the level of a state; None for a device without levels.

    Raises:
        UsageError: the device has no such state.
    """
    if not device.levels and state == device.name:
        return None
    for level in device.levels:
        if state == f"{device.name}@{level.name}":
            return level
    raise UsageError(f"device {device.name} has no state {state!r}", f"states: {', '.join(device.states)}")


def slice_seconds(model: onnx.ModelProto, device: Device) -> float:
    """Return the simulated seconds of a slice at the level in the device's options (default: the highest)."""
    from mosaic_onnx.core.graph.layer_facts import whole_model_facts

    options = read_options(device)
    named = next((level for level in device.levels if level.name == options.level), None)
    level = named or (device.levels[-1] if device.levels else None)
    part = share(whole_model_facts(model), options)
    return seconds_at(part, slowdown(device, level), options.overlap) + device.slice_seconds


def _copy(source: str, destination: str, line: CopyLine, options: SimulatedOptions) -> TransferCost:
    joules = 0.0 if options.dynamic_w is None else options.copy_w
    return TransferCost(
        source=source,
        destination=destination,
        seconds_per_byte=line.seconds_per_byte,
        seconds=line.seconds,
        joules_per_byte=line.seconds_per_byte * joules,
        joules=line.seconds * joules,
    )


def _lacks(op_type: str) -> str:
    return f"the description has no operator {op_type}"


BACKEND = Simulated()
