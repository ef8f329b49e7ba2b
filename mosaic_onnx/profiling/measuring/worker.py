"""Measuring in a child process: a provider that crashes or hangs ends only the child.

One child serves all requests for a device (importing a runtime costs a quarter of a second); a request during which it
dies or exceeds its time gives that as the reason, and the next request gets a new child.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mosaic_onnx.backends.base import Array, KernelTime, SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.isolation.messages import device_to_json, write_slice, write_tensors
from mosaic_onnx.isolation.process import ChildDied, ChildProcess
from mosaic_onnx.profiling.energy.joules import Energy
from mosaic_onnx.profiling.machine import MachineFacts
from mosaic_onnx.profiling.measuring.copies import CopyTimes
from mosaic_onnx.profiling.measuring.slices import SliceMeasurement, SliceTrial
from mosaic_onnx.profiling.measuring.timing import TimeBudget
from mosaic_onnx.verification.differences import Difference

Json = Any
START_S = 20.0
"""A child gets so long for its start and a small slice, whatever is known: runtimes are slow to load."""
SLOWEST = 2000.0
"""A device that takes so many times what another takes is given up: software GPUs take some hundred times."""
NODE_S = 0.02
"""Compiling a node is given so long."""
CHILD = "mosaic_onnx.profiling.measuring.child"
"""The module of the actions."""


def request_limit_s(most_s: float, trial: SliceTrial | None, node_count: int) -> float:
    """Return how long measuring a slice may take: by what it takes elsewhere where that is known, else ``most_s``."""
    if trial is None or trial.known_s is None:
        return most_s
    return min(most_s, START_S + 2 * trial.budget.seconds + SLOWEST * trial.known_s + NODE_S * node_count)


class ChildMeter:
    """A ``Meter`` that measures in a child process."""

    def __init__(self, child: ChildProcess, device: Device, limit_s: float, *, owns_child: bool = True) -> None:
        """Prepare the meter; the child starts with the first request.

        Args:
            child: where to measure.
            device: the device to measure.
            limit_s: how long one request may take, the child's start included.
            owns_child: end it with the meter.
        """
        self.child = child
        self._device = device
        self._limit_s = limit_s
        self._owns_child = owns_child

    def probe(self, model: SliceModel) -> SliceMeasurement:
        """See ``Meter``."""
        return _outcome(self._ask("probe", {"slice": self._slice(model)}, self._limit_s, _words("compile", model)))

    def measure(self, model: SliceModel, trial: SliceTrial) -> SliceMeasurement:
        """See ``Meter``."""
        return _outcome(self._try("measure", model, trial))

    def measure_with_kernels(
        self, model: SliceModel, trial: SliceTrial
    ) -> tuple[SliceMeasurement, tuple[KernelTime, ...]]:
        """See ``Meter``."""
        answer = self._try("measure_with_kernels", model, trial)
        kernels = tuple(KernelTime(**kernel) for kernel in answer.pop("kernels", ()))
        return _outcome(answer), kernels

    def _try(self, action: str, model: SliceModel, trial: SliceTrial) -> dict[str, Json]:
        """Return the child's answer to an action that compiles a slice and runs it on the reference's tensors."""
        request = {
            "slice": self._slice(model),
            "inputs": write_tensors(trial.inputs, self.child.files / "inputs"),
            "expected": write_tensors(trial.expected, self.child.files / "expected"),
            "budget": vars(trial.budget),
        }
        limit_s = request_limit_s(self._limit_s, trial, len(model.model.graph.node))
        return self._ask(action, request, limit_s, _words("compile and run", model))

    def kernels(self, model: SliceModel, inputs: Mapping[str, Array], budget: TimeBudget) -> tuple[KernelTime, ...]:
        """See ``Meter``."""
        tensors = write_tensors(inputs, self.child.files / "inputs")
        request = {"slice": self._slice(model), "inputs": tensors, "budget": vars(budget)}
        answer = self._ask("kernels", request, self._limit_s, _words("time the kernels of", model))
        return tuple(KernelTime(**kernel) for kernel in answer.get("kernels", ()))

    def energy(self, model: SliceModel, inputs: Mapping[str, Array], least_s: float) -> Energy:
        """See ``Meter``."""
        tensors = write_tensors(inputs, self.child.files / "inputs")
        request = {"slice": self._slice(model), "inputs": tensors, "least_s": least_s}
        answer = self._ask("energy", request, self._limit_s, _words("measure the energy of", model))
        if "failure" in answer:
            raise BackendError(f"device {self._device.name}: its energy was not measured: {answer['failure']}")
        return Energy(**answer)

    def copies(self, budget: TimeBudget) -> CopyTimes | None:
        """See ``Meter``."""
        answer = self._ask("copies", {"budget": vars(budget)}, self._limit_s, "to time its copies")
        if "failure" in answer:
            raise BackendError(f"device {self._device.name}: copies could not be measured: {answer['failure']}")
        if answer["copies"] is None:
            return None
        return CopyTimes(
            **{key: tuple((int(b), float(s)) for b, s in value) for key, value in answer["copies"].items()}
        )

    def machine(self) -> MachineFacts | None:
        """See ``Meter``."""
        return None

    def close(self) -> None:
        """End the child where it is the meter's own; calling it twice is harmless."""
        if self._owns_child:
            self.child.close()

    def _slice(self, model: SliceModel) -> Json:
        return write_slice(model, self.child.files / "slice.onnx")

    def _ask(self, action: str, request: Json, limit_s: float, doing: str) -> dict[str, Json]:
        """Return the child's answer; ``failure`` holds the reason if it died."""
        device = device_to_json(self._device)
        try:
            return self.child.ask(f"{CHILD}:{action}", {"device": device, **request}, limit_s, doing)
        except ChildDied as died:
            return {"failure": died.reason}


def _words(what: str, model: SliceModel) -> str:
    count = len(model.model.graph.node)
    return f"to {what} a slice of {count} node{'s' if count != 1 else ''}"


def _outcome(answer: dict[str, Json]) -> SliceMeasurement:
    if "failure" in answer:
        return SliceMeasurement(reason=str(answer["failure"]), is_lasting=False)
    try:
        differences = tuple(Difference(**each) for each in answer.pop("differences"))
        return SliceMeasurement(**answer, differences=differences)
    except (TypeError, KeyError):
        return SliceMeasurement(reason="the measuring process answered nonsense", is_lasting=False)
