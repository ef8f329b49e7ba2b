"""Whole plans in a child process: loaded there slice by slice on all their devices, run and timed there.

Whose fault a crash is, is read from what the child was doing.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.errors import DeviceError
from mosaic_onnx.files.plan_file import plan_to_json
from mosaic_onnx.isolation.messages import device_to_json, write_slice, write_tensors
from mosaic_onnx.isolation.process import ChildDied, ChildProcess
from mosaic_onnx.profiling.interleaved import InterleavedTimings
from mosaic_onnx.profiling.whole_plans.plans_to_run import ACTIONS, Machine, PlanToRun, Rounds
from mosaic_onnx.runtime.trace import Span, Trace

Json = Any
LIMIT_S = 120.0
"""Loading a plan, and its first run, may each take so long."""
SLOWEST_RUN = 10.0
"""A run may take so many times what the first one took."""


class DeviceDied(DeviceError):
    """A device took its process with it, and every plan that was loaded there."""


class ProgramChild:
    """A child that holds loaded plans. At the context's end it is kept for the next plans, after a failure ended."""

    def __init__(self, machine: Machine, inputs: Mapping[str, Array], outputs: Sequence[str]) -> None:
        """Prepare.

        Args:
            machine: where the plans run.
            inputs: the model's inputs.
            outputs: names of the model's outputs.
        """
        self._machine = machine
        name, self._kept = "the plan's devices", machine.kept_child
        addresses = machine.addresses()
        self._child = self._kept.lend(name, addresses) if self._kept else ChildProcess(name, addresses)
        self._inputs = write_tensors(inputs, self._child.files / "inputs")
        self._names = {"inputs": list(inputs), "outputs": list(outputs)}
        self._files = itertools.count()
        self._run_s: dict[int, float] = {}

    def open(self, one: PlanToRun) -> int:
        """Load a plan and run it once; its number.

        Raises:
            DeviceError: it cannot be loaded or run.
            DeviceDied: a device took the child with it.
        """
        number = self._load("open", one)
        first = {"number": number, "tensors": self._inputs}
        self._run_s[number] = float(
            self._ask("first_run", first, LIMIT_S, "to run a plan for the first time")["seconds"]
        )
        return number

    def open_session(self, one: PlanToRun) -> int:
        """Load a plan as a session and run it once; its number. Errors as for ``open``."""
        return self._load("open_session", one, {"tensors": self._inputs})

    def _load(self, action: str, one: PlanToRun, more: Mapping[str, Json] | None = None) -> int:
        """Load a plan by an action of the child; its number."""
        devices = {**self._machine.devices, **one.overrides}
        used = [device_to_json(devices[name]) for name in sorted(one.devices)]
        files = [self._child.files / f"{next(self._files)}.onnx" for _ in one.slices]
        slices = [write_slice(each, file) for each, file in zip(one.slices, files, strict=True)]
        request = {"plan": plan_to_json(one.plan), "slices": slices, "devices": used, **self._names, **(more or {})}
        doing = f"to load a plan on {', '.join(sorted(one.devices))}"
        try:
            return int(self._ask(action, request, LIMIT_S, doing)["number"])
        finally:
            for file in files:  # they lie in memory, with all weights that the model's own file holds
                file.unlink(missing_ok=True)

    def rates(self, numbers: Mapping[str, int], round_count: int, seconds: float) -> InterleavedTimings:
        """Measure the requests a second of loaded sessions in turn, by name; errors as for ``open``.

        Returns:
            Seconds a request, a figure a round.
        """
        request = {"numbers": dict(numbers), "round_count": round_count, "seconds": seconds, "tensors": self._inputs}
        usual_s = (round_count + 1) * seconds * len(numbers)
        answer = self._ask("rates", request, LIMIT_S + SLOWEST_RUN * usual_s, "to time plans", 2 * usual_s)
        taken = {name: tuple(map(float, values)) for name, values in answer["seconds"].items()}
        return InterleavedTimings(taken, 1)

    def time(self, numbers: Mapping[str, int], rounds: Rounds) -> InterleavedTimings:
        """Time loaded plans in turn, by name; errors as for ``open``."""
        request = {"numbers": dict(numbers), "tensors": self._inputs, **asdict(rounds)}
        limit_s, usual_s = LIMIT_S + 10 * rounds.budget_s, 2 * rounds.budget_s
        answer = self._ask("time", request, limit_s, "to time plans", usual_s)
        seconds = {name: tuple(map(float, values)) for name, values in answer["seconds"].items()}
        return InterleavedTimings(seconds, int(answer["repeat_count"]))

    def repeat(self, number: int, warmup_count: int, count: int) -> tuple[float, ...]:
        """Time runs of a loaded plan; errors as for ``open``."""
        request = {"number": number, "warmup_count": warmup_count, "count": count, "tensors": self._inputs}
        usual_s = self._run_s[number] * (warmup_count + count)
        answer = self._ask("repeat", request, LIMIT_S + SLOWEST_RUN * usual_s, "to run a plan", 2 * usual_s)
        return tuple(map(float, answer["seconds"]))

    def traces(self, number: int, seconds: float, min_runs: int, max_runs: int) -> list[Trace]:
        """Run a loaded plan and watch its slices; errors as for ``open``."""
        request = {"number": number, "seconds": seconds, "min_runs": min_runs, "max_runs": max_runs}
        answer = self._ask("traces", {**request, "tensors": self._inputs}, LIMIT_S + 10 * seconds, "to run a plan")
        return [Trace(tuple(Span(**span) for span in one["spans"]), one["seconds"]) for one in answer["traces"]]

    def _ask(
        self, action: str, request: Mapping[str, Json], limit_s: float, doing: str, usual_s: float = 0.0
    ) -> dict[str, Json]:
        try:
            answer = self._child.ask(f"{ACTIONS}:{action}", request, limit_s, doing, usual_s)
        except ChildDied as died:
            device = "" if died.mark is None else died.mark.device
            words = f"device {device} {died.reason}" if device else f"the process of the plan {died.reason}"
            raise DeviceDied(words, device=device) from died
        if "failure" in answer:
            device = str(answer.get("device", ""))
            raise DeviceError(str(answer["failure"]), str(answer.get("hint", "")), device=device)
        return answer

    def close(self) -> None:
        """End the child; calling it twice is harmless."""
        self._child.close()

    def __enter__(self) -> ProgramChild:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._kept is not None:
            self._kept.give_back(self._child)
        else:
            self.close()
