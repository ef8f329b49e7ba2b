"""Check and describe a bundle: its proof, its report, its export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mosaic_onnx.api.running import _shape_of_inputs, bench, bundle_inputs, open_bundle
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.files.atomic import refuse_to_replace
from mosaic_onnx.files.bundle import Bundle, read_bundle
from mosaic_onnx.pipeline.exporting import Exported, export_model, export_slices
from mosaic_onnx.pipeline.open_bundle import verify_bundle
from mosaic_onnx.pipeline.options import PathLike
from mosaic_onnx.report.gather import content_of, read_subject
from mosaic_onnx.report.headline import Headline, headline_of
from mosaic_onnx.report.write import need_library, write_page
from mosaic_onnx.verification.report import VerifyReport, merged_reports
from mosaic_onnx.verification.verify import Progress as VerifyProgress


def verify(
    bundle: Bundle | PathLike,
    *,
    inputs: PathLike | None = None,
    seed: int = 0,
    progress: VerifyProgress | None = None,
    devices: Sequence[str] = (),
    trust: bool = False,
) -> VerifyReport:
    """Every slice and the whole of a bundle against the original, unoptimised model.

    Args:
        bundle: the bundle or its folder.
        inputs: a .npz or .npy file; None makes them up from ``seed``.
        seed: of made-up inputs.
        progress: told after every slice.
        devices: devices of this machine that take the place of the bundle's by name: names, devices files or shipped
            descriptions.
        trust: take what the bundle says of its devices, though it may name libraries to load and folders to write.

    Raises:
        ModelError: the bundle or the inputs are wrong.
        UsageError: a device of the bundle is not here.
        BackendError: the reference cannot run.
    """
    opened = open_bundle(bundle, devices, trust=trust)
    if not opened.shapes or inputs is not None:
        return verify_bundle(*_shape_of_inputs(opened, inputs, seed), progress)
    every = (replace(opened, shapes=()), *opened.shapes)
    return merged_reports([verify_bundle(one, bundle_inputs(one, None, seed), progress) for one in every])


@dataclass(frozen=True)
class Report:
    """A page that was written, and its first words."""

    file: Path
    headline: Headline


def report(
    source: PathLike,
    output: PathLike,
    *,
    profile: PathLike | None = None,
    measure: bool = False,
    time_limit_s: float = 10.0,
    force: bool = False,
    devices: Sequence[str] = (),
    trust: bool = False,
) -> Report:
    """Write a plan as one HTML page that needs no network: graph, timelines, layers, memory, what would help.

    Args:
        source: a bundle's folder, a plan's file, or a profile's, which is planned for latency.
        output: the page.
        profile: of a plan's file; None takes ``profile.json`` beside it.
        measure: run the bundle here, for the timeline of a measured run.
        time_limit_s: for planning again with the operators that devices lack.
        force: replace a file that is there.
        devices: of a bundle that is measured: devices of this machine that take the place of its own by name.
        trust: take what the bundle says of its devices, though it may name libraries to load and folders to write.

    Raises:
        ModelError: a file is wrong.
        UsageError: the output is there already, Bokeh is not installed, or ``measure`` is asked of no bundle.
        BackendError: a device failed.
    """
    refuse_to_replace(output, force=force)
    need_library()
    subject = read_subject(Path(source), None if profile is None else Path(profile))
    trace = None
    if measure:
        if subject.bundle is None:
            raise UsageError(f"{source} is no bundle: there is nothing to run", "leave out --measure")
        runs = bench(subject.bundle, iterations=20, warmup=3, devices=devices, trust=trust).traces
        trace = sorted(runs, key=lambda one: one.seconds)[len(runs) // 2]
    content = content_of(subject, time_limit_s=time_limit_s, trace=trace)
    write_page(content, Path(output))
    return Report(Path(output), headline_of(content))


def export(
    bundle: Bundle | PathLike, output: PathLike, *, slices: bool = False, keep_tags: bool = False, force: bool = False
) -> Exported:
    """Write what any ONNX Runtime of the told version runs, without mosaic-onnx.

    Args:
        bundle: the bundle or its folder.
        output: the file; with ``slices`` a new folder.
        slices: a file a slice, their order, and runners in Python and C++; else one file.
        keep_tags: keep in the one file what says where slices run (device configurations, metadata): IR version 11.
        force: replace a file that is there.

    Raises:
        ModelError: the bundle is damaged.
        UsageError: the output is there already, or cannot be written.
    """
    opened = read_bundle(bundle) if not isinstance(bundle, Bundle) else bundle
    if slices:
        return export_slices(opened, Path(output))
    refuse_to_replace(output, force=force)
    return export_model(opened, Path(output), keep_tags=keep_tags)
