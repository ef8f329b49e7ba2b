"""Reports of compile and verify, as tables and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mosaic_onnx.cli.views.headline import headline
from mosaic_onnx.cli.views.tables import MANY, megabytes, milliseconds, table
from mosaic_onnx.files.plan_file import plan_to_fields
from mosaic_onnx.passes.editing import option_of
from mosaic_onnx.pipeline.compilation import shapes_text
from mosaic_onnx.pipeline.delivery import contest_fields, proof_fields
from mosaic_onnx.planning.candidates import PLAN

if TYPE_CHECKING:
    from rich.table import Table

    from mosaic_onnx.core.plans import Plan
    from mosaic_onnx.pipeline.compilation import Compilation
    from mosaic_onnx.verification.precision.report import Precision
    from mosaic_onnx.verification.report import VerifyReport


def compiled_tables(done: Compilation) -> list[Table]:
    """Return tables of the delivered slices, and of the plan against every single device."""
    return [_slices(done), _contest(done)] + (
        [] if done.state.precision is None else [_precision(done.state.precision)]
    )


def _precision(precision: Precision) -> Table:
    """Return a table of every candidate's error, with a caption on the delivered one's."""
    rows = []
    for name, truth in precision.measured.items():
        agreement = "–" if truth.agreement is None else f"{truth.agreement:.1%}"
        note = "delivered" if name == precision.delivered else ""
        if truth.error > precision.budget:
            note = "above the budget"
        rows.append((name, f"{truth.error:.3g}", agreement, note))
    title = f"error relative to each output's largest value, budget {precision.budget:g}"
    made = table(title, ("candidate", "measured", "top-1 agreement", ""), rows)
    made.caption = str(precision)
    return made


def _slices(done: Compilation) -> Table:
    profile, plan = done.state.profile, done.plan
    simulated = {state for device in profile.devices if device.simulated for state in device.states}
    rows = []
    for number, one in enumerate(plan.slices):
        first, last = profile.layers[one.layers[0]].name, profile.layers[one.layers[-1]].name
        parameters = sum(profile.layers[layer].parameter_bytes for layer in one.layers)
        span = first if first == last else f"{first} … {last}"
        crossing = len(done.slices[number].outputs)
        rows.append(
            (
                str(number),
                f"{one.state} (simulated)" if one.state in simulated else one.state,
                str(len(one.layers)),
                span,
                milliseconds(one.end_s - one.start_s),
                str(crossing),
                megabytes(parameters),
            )
        )
    columns = ("slice", "device", "layers", "from … to", "predicted", "outputs", "weights")
    return table(f"delivered{_shapes(done)}: {_count(plan, done)}", columns, rows, most=MANY)


def _count(plan: Plan, done: Compilation) -> str:
    """Return how many slices and transfers there are; figures stand in the headline, measured where they were."""
    moved = megabytes(sum(transfer.bytes for transfer in plan.transfers))
    slices = f"{len(plan.slices)} slice{'' if len(plan.slices) == 1 else 's'}"
    return f"{done.state.contest.winner}: {slices}, {len(plan.transfers)} transfers ({moved})"


def _shapes(done: Compilation) -> str:
    """For which shapes, where the model leaves any open: those that were asked for, and what was assumed."""
    asked = option_of(done.passes, "input_shapes")
    words = [f" for {shapes_text(asked)}"] if asked else []
    assumed = done.state.normalised.defaults
    return "".join([*words, f" (assumed: {'; '.join(assumed)})" if assumed else ""])


def _contest(done: Compilation) -> Table:
    judged, measured = done.state.contest, done.state.contest.timings
    simulated = {device.name for device in done.state.profile.devices if device.simulated}
    plans = {PLAN: done.state.plan, **done.single_plans}
    with_joules = any(one.predicted.joules is not None for one in plans.values())
    rows = []
    for name, one in plans.items():
        seconds = one.predicted.interval_seconds if judged.is_rate else one.predicted.seconds
        figure, spread, ratio = "–", "–", "–"
        if measured is not None and name in measured.seconds:
            figure, spread = milliseconds(measured.median_s(name)), f"±{measured.spread(name):.1%}"
            if "plan" in measured.seconds:
                against = measured.ratio(name, "plan")
                ratio = f"{against.value:.3f} ({against.low:.3f}–{against.high:.3f})"
        note = judged.failed.get(name, "delivered" if name == judged.winner else "")
        label = f"{name} (simulated)" if name in simulated else name
        energy = (_energy(one),) if with_joules else ()
        if measured is None:
            rows.append((label, *energy, milliseconds(seconds), note))
        else:
            rows.append((label, *energy, milliseconds(seconds), figure, spread, ratio, note))
    columns: tuple[str, ...] = ("candidate", "predicted", "measured median", "spread", "ratio to the plan", "")
    if measured is None:
        columns = ("candidate", "predicted latency", "")
    if with_joules:
        columns = (columns[0], "predicted energy", *columns[1:])
    what = "requests under full load, one every …" if judged.is_rate else "the plan against every single device"
    made = table(what, columns, rows)
    made.caption = judged.reason
    return made


def _energy(one: Plan) -> str:
    return "–" if one.predicted.joules is None else f"{one.predicted.joules * 1e3:.4g} mJ"


def compiled_fields(done: Compilation) -> dict[str, Any]:
    """Return a compilation's report as JSON values."""
    return {
        "headline": headline(done),
        "plan": plan_to_fields(done.plan),
        "planned": plan_to_fields(done.state.plan),
        "measured": contest_fields(done.state.contest),
        "single_predicted_s": dict(done.single_predicted),
        "proof": proof_fields(done.state.proof),
        "precision": None if done.state.precision is None else done.state.precision.as_fields(),
        "left_out": {absent.name: absent.reason for absent in done.state.selection.left_out},
        "input_shapes": {name: list(shape) for name, shape in option_of(done.passes, "input_shapes").items()},
        "assumed": list(done.state.normalised.defaults),
        "shapes": [compiled_fields(one) for one in done.shapes],
    }


def proof_tables(report: VerifyReport) -> list[Table]:
    """Return tables of the checked slices and outputs."""
    slices = [
        (
            str(check.slice),
            check.device,
            "right" if check.is_good else "WRONG",
            "–" if check.worst is None else str(check.worst),
            "–" if check.providers is None else ", ".join(f"{name} {count}" for name, count in check.providers.items()),
        )
        for check in report.slices
    ]
    outputs = [(check.tensor, check.verdict, str(check.difference), check.note) for check in report.outputs]
    return [
        table("slices, fed with the reference's tensors", ("slice", "device", "", "largest error", "ran on"), slices),
        table(f"outputs, end to end, against {report.reference}", ("output", "verdict", "error", "note"), outputs),
    ]
