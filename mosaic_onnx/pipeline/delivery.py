"""From a compilation to a bundle: its files, and the facts of its manifest."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.errors import InternalError
from mosaic_onnx.files.bundle import BundleContents, write_bundle
from mosaic_onnx.passes.editing import option_of
from mosaic_onnx.passes.given import GivenPlan, GivenProfile
from mosaic_onnx.pipeline.compilation import Compilation
from mosaic_onnx.pipeline.open_bundle import machine_fingerprint
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.contest import Contest
from mosaic_onnx.profiling.machine import fingerprint
from mosaic_onnx.rewriting.rewrite import layer_assignment_settings
from mosaic_onnx.verification.report import VerifyReport

_PACKAGES = ("onnx", "onnxruntime", "openvino", "numpy", "onnxruntime-qnn", "onnxruntime-ep-webgpu")


def deliver(compilation: Compilation, folder: Path, *, force: bool = False) -> None:
    """Write the bundle of a compilation, with those for further shapes.

    Raises:
        UsageError: the folder cannot be written.
    """
    further = tuple(_contents(one) for one in compilation.shapes)
    write_bundle(replace(_contents(compilation), shapes=further), folder, force=force)


def _contents(compilation: Compilation) -> BundleContents:
    """Return the contents of a compilation's bundle."""
    state, plan = compilation.state, compilation.plan
    used = {device_of(state) for state in (*(one.state for one in plan.slices), *plan.replicas)}
    canonical = state.delivered.canonical
    if canonical is None:
        raise InternalError("there is no partitioned model to write")
    return BundleContents(
        model=canonical.model,
        folder=canonical.folder,
        original=state.normalised.model,
        original_folder=state.normalised.folder,
        slices=compilation.slices,
        profile=state.profile,
        plan=plan,
        devices=[
            state.delivered.devices.get(device.name, device) for device in state.profile.devices if device.name in used
        ],
        tuned=compilation.tuned,
        fingerprint=machine_fingerprint(state.selection.versions),
        facts=_facts(compilation) | {"rewritten": list(canonical.notes)},
        weight_digests=state.normalised.weight_digests,
    )


def _facts(compilation: Compilation) -> dict[str, Any]:
    """Return the manifest's entries beside the files."""
    state = compilation.state
    return {
        "model": {"name": state.opened.path.name, "sha256": state.opened.sha256},
        "versions": {"python": sys.version.split()[0], **_versions(), **state.selection.versions},
        "machine": fingerprint(),
        "replay": replay(compilation),
        "layer_assignment_settings": layer_assignment_settings(state.profile, compilation.plan),
        "passes": [one.name for one in compilation.passes],
        "assumed": list(state.normalised.defaults),
        "left_out": [asdict(absent) for absent in state.selection.left_out],
        "simulated": [device.name for device in state.selection.chosen if device.simulated],
        "measured": contest_fields(state.contest),
        "proof": proof_fields(state.proof),
        "precision": None if state.precision is None else state.precision.as_fields(),
    }


def _versions() -> dict[str, str]:
    """Versions of the packages that a bundle depends on, as far as they are installed."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def replay(compilation: Compilation) -> list[str]:
    """The command that compiles the same model the same way."""
    state, passes = compilation.state, compilation.passes
    given = {one.name: one.given for one in passes if isinstance(one, GivenProfile | GivenPlan)}
    constraints: Constraints = option_of(passes, "constraints")
    samples: Path | None = option_of(passes, "samples")
    words = ["mosaic-onnx", "compile", state.path.name]
    words += ["-d", ",".join(device.name for device in state.selection.chosen)]
    for name, source in given.items():
        words += [f"--{name}", source.name if isinstance(source, Path) else f"{name}.json"]
    if "plan" not in given:
        words += _request_words(option_of(passes, "request"))
    words += ["--granularity", option_of(passes, "granularity"), "--seed", str(option_of(passes, "seed"))]
    effort = option_of(passes, "effort") if "profile" not in given else None
    if effort is not None and effort.name != "normal":
        words += ["--effort", effort.name]
    inputs: Path | None = option_of(passes, "inputs")
    if inputs is not None:
        words += ["--inputs", inputs.name]
    if samples is not None:
        words += ["--samples", str(samples.name)]
    for flag, rules in (("--pin", constraints.pins), ("--forbid", constraints.forbids)):
        words += [word for pattern, device in rules for word in (flag, f"{pattern}={device}")]
    for flag, caps in (("--memory", constraints.memory_bytes), ("--slice-memory", constraints.slice_memory_bytes)):
        words += [word for device, count in caps.items() for word in (flag, f"{device}={count}")]
    words += [
        word for one in constraints.max_slice_counts.items() for word in ("--max-slices-on", f"{one[0]}={one[1]}")
    ]
    if constraints.quantile is not None:
        words += ["--quantile", f"{constraints.quantile:g}"]
    for name, shape in option_of(passes, "input_shapes").items():
        words += ["--input-shape", f"{name}:{','.join(map(str, shape))}"]
    return words + [word for name in compilation.outside for word in ("--pass", name)]


def _request_words(request: Request) -> list[str]:
    words = ["--objective", request.objective, "--schedule", request.schedule, "--method", request.method]
    if request.max_error is not None:
        words += ["--max-error", f"{request.max_error:g}"]
    if request.min_slice_count:
        words += ["--min-slices", str(request.min_slice_count)]
    if request.max_slice_count is not None:
        words += ["--max-slices", str(request.max_slice_count)]
    return words


def contest_fields(judged: Contest) -> dict[str, Any]:
    """The contest, for JSON."""
    fields: dict[str, Any] = {"delivered": judged.winner, "reason": judged.reason, "failed": dict(judged.failed)}
    if judged.timings is not None:
        fields["median_s"] = {name: judged.timings.median_s(name) for name in judged.timings.seconds}
        fields["spread"] = {name: judged.timings.spread(name) for name in judged.timings.seconds}
        if judged.is_rate:
            fields["seconds_are"] = "per request, of many"
        fields["round_count"] = max(map(len, judged.timings.seconds.values()))
    if judged.ratio is not None:
        fields["plan_against_best_single"] = asdict(judged.ratio)
    return fields


def proof_fields(report: VerifyReport) -> dict[str, Any]:
    """A verification, for JSON."""
    return {
        "passed": report.passed,
        "reference": report.reference,
        "outputs": {check.tensor: {"verdict": check.verdict, "error": str(check)} for check in report.outputs},
        "canonical": {check.tensor: {"verdict": check.verdict, "error": str(check)} for check in report.canonical},
        "slices": [
            {
                "slice": check.slice,
                "device": check.device,
                "good": check.is_good,
                "cut": _verdicts(check.cut),
                "computed": _verdicts(check.computed),
                "worst": None if check.worst is None else str(check.worst),
                "providers": None if check.providers is None else dict(check.providers),
                "ranges": {name: list(limits) for name, limits in check.ranges.items()},
            }
            for check in report.slices
        ],
        "failures": list(report.failures),
        "explained": list(report.explained),
        "notes": list(report.notes),
    }


def _verdicts(checks: Sequence[Any]) -> dict[str, int]:
    """Return {verdict: number of tensors}."""
    counts: dict[str, int] = {}
    for check in checks:
        counts[check.verdict] = counts.get(check.verdict, 0) + 1
    return counts
