"""Verify a partitioned model: each slice against the original model's tensors, and the whole end to end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache

import onnx

from mosaic_onnx.backends.base import Array, Backend, SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, MosaicError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.rewriting.rewrite import Canonical
from mosaic_onnx.runtime.executor import Executor, open_program
from mosaic_onnx.verification.canonical_check import check_canonical
from mosaic_onnx.verification.differences import Difference, difference
from mosaic_onnx.verification.marks import find_marks
from mosaic_onnx.verification.reference import Reference
from mosaic_onnx.verification.report import SliceCheck, TensorCheck, VerifyReport
from mosaic_onnx.verification.sensitivity import ROUNDING, disturbances, element_types, rounding_floor, rounding_of
from mosaic_onnx.verification.slice_checks import SlicedModel, check_slices
from mosaic_onnx.verification.verdicts import judge, precisions_of, tolerance_of, within_budget

Progress = Callable[[int, int], None]
"""Called with (slices checked so far, slices in all)."""


@dataclass(frozen=True)
class Verifiable:
    """The input of verification.

    Attributes:
        model: the original model, topologically sorted, types inferred.
        folder: where its external data lies; None where there is none.
        slices: its slices, in the plan's order.
        program: the slices, loaded.
        tuned: the delivered program, where slices are optimised together (``joint_optimise``); checked end to end.
        devices: by name.
        inputs: the model's inputs.
        canonical: the partitioned model as one file; None where there is none.
    """

    model: onnx.ModelProto
    folder: str | None
    slices: Sequence[SliceModel]
    program: Executor
    devices: Mapping[str, Device]
    inputs: Mapping[str, Array]
    tuned: Executor | None = None
    canonical: Canonical | None = None


@dataclass(frozen=True)
class Verifier:
    """Verifies a loaded program.

    Attributes:
        tolerance: largest error relative to an output's largest value; None: by the devices' precisions.
        progress: called after every slice.
        budget: largest relative error of an output, end to end, for any reason; slices alone keep their devices'
            tolerances. None for no budget.
    """

    tolerance: float | None = None
    progress: Progress | None = None
    budget: float | None = None

    def __call__(self, work: Verifiable) -> VerifyReport:
        """Return the report; the caller turns a failed one into an error.

        Raises:
            ModelError: there is no reference for this model.
            BackendError: the reference cannot run on these inputs.
        """
        reference = Reference(work.model, work.folder)
        try:
            expected = reference.run(work.inputs)
            outputs = self._end_to_end(work, reference, expected)
            slices = self._slices(work, reference, expected)
            canonical = check_canonical(work.canonical, work.model, reference, work.inputs, expected)
        finally:
            reference.close()
        return VerifyReport(reference.runtime, tuple(slices), tuple(outputs), _notes(work, reference), canonical)

    def _slices(self, work: Verifiable, reference: Reference, expected: Mapping[str, Array]) -> list[SliceCheck]:
        sliced = SlicedModel(
            work.model,
            work.folder,
            work.slices,
            work.program.runners,
            [work.devices[name] for name in work.program.device_names],
            work.inputs,
            self.tolerance,
            {name: tensor.bytes for name, tensor in work.program.tensors.items()},
        )
        checks = []
        for check in check_slices(sliced, reference, expected):
            checks.append(check)
            if self.progress is not None:
                self.progress(len(checks), len(work.slices))
        return checks

    def _end_to_end(self, work: Verifiable, reference: Reference, expected: Mapping[str, Array]) -> list[TensorCheck]:
        try:
            made = (work.tuned or work.program).run(work.inputs)
        except BackendError as error:
            lost = [Difference(name, problem=f"the run failed: {error.message}") for name in expected]
            return [TensorCheck(each.tensor, "failed", each) for each in lost]
        if self.budget is not None:
            random = find_marks(work.model).random
            return [
                within_budget(difference(name, made.get(name), expected[name]), self.budget, random.get(name, ()))
                for name in expected
            ]
        used = {work.devices[name].precision for name in work.program.device_names} | precisions_of(work.model)
        relative = self.tolerance or tolerance_of(used)
        amount = max(map(rounding_of, used), default=ROUNDING["f32"])
        marks = find_marks(work.model)
        optimised = "ONNX Runtime's own optimised run of the original model is as far off"
        sources = [
            (optimised, _by_optimising(work, reference, expected)),
            *disturbances(work.model, work.folder, reference, work.inputs, amount, element_types(work.model.graph)),
        ]
        floor = rounding_floor(work.inputs, amount)
        return [
            judge(difference(name, made.get(name), expected[name]), relative, marks, sources, floor)
            for name in expected
        ]


def verify_plan(
    verifier: Verifier,
    model: onnx.ModelProto,
    folder: str | None,
    plan: Plan,
    slices: Sequence[SliceModel],
    tuned: Sequence[SliceModel] | None,
    devices: Mapping[str, Device],
    backends: Mapping[str, Backend],
    inputs: Mapping[str, Array],
    canonical: Canonical | None = None,
) -> VerifyReport:
    """Load a plan's slices and verify them.

    Args:
        verifier: the verifier.
        model: the original model, topologically sorted, types inferred.
        folder: where its external data lies; None where there is none.
        plan: whose slices they are.
        slices: in the plan's order.
        tuned: the same as they run best on this machine; None where nothing is tuned.
        devices: by name.
        backends: by name.
        inputs: the model's inputs.
        canonical: the partitioned model as one file.

    Raises:
        ModelError: there is no reference for this model.
        BackendError: a slice cannot be loaded, or the reference cannot run on these inputs.
    """
    outputs = tuple(value.name for value in model.graph.output)
    with ExitStack() as stack:

        def opened(parts: Sequence[SliceModel]) -> Executor:
            program = open_program(parts, plan, devices, backends, inputs=tuple(inputs), outputs=outputs)
            return stack.enter_context(program)

        program = opened(slices)
        faster = None if tuned is None else opened(tuned)
        return verifier(Verifiable(model, folder, slices, program, devices, inputs, faster, canonical))


def _by_optimising(
    work: Verifiable, reference: Reference, expected: Mapping[str, Array]
) -> Callable[[], Mapping[str, Difference]]:
    """Return the differences of the optimised original model from the reference (up to several quantisation steps)."""

    @cache
    def found() -> Mapping[str, Difference]:
        if reference.runtime != "ONNX Runtime":
            return {}
        try:
            optimised = Reference(work.model, work.folder, "ONNX Runtime", optimisation="all")
            try:
                made = optimised.run(work.inputs)
            finally:
                optimised.close()
        except MosaicError:
            return {}
        return {name: difference(name, made.get(name), array) for name, array in expected.items()}

    return found


def _notes(work: Verifiable, reference: Reference) -> tuple[str, ...]:
    notes = []
    if reference.runtime != "ONNX Runtime":
        notes.append(
            "ONNX Runtime's CPU provider cannot run the original model; the onnx package's evaluator is the reference"
        )
    if work.canonical is not None and work.canonical.refusal is not None:
        notes.append(f"the partitioned file is not compared with the model: {work.canonical.refusal}")
    notes += [f"slice {index} is not run in place: {why}" for index, why in work.program.handed_over.items()]
    simulated = sorted({name for name in work.program.device_names if work.devices[name].simulated})
    if simulated:
        notes.append(f"simulated: {', '.join(simulated)}")
    return tuple(notes)
