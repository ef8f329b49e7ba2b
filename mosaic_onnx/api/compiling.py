"""From a model to a bundle, or to one file for ONNX Runtime.

The pipeline is imported inside of the functions: half a second in which the processes that a compilation needs start.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import Unpack

from mosaic_onnx.core.errors import OutputsDifferError
from mosaic_onnx.core.progress import Note, say_nothing
from mosaic_onnx.loading.children import Children

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mosaic_onnx.core.plans import Plan
    from mosaic_onnx.core.profiles import Profile
    from mosaic_onnx.files.bundle import Bundle
    from mosaic_onnx.pipeline.compilation import Compilation
    from mosaic_onnx.pipeline.exporting import Annotated
    from mosaic_onnx.pipeline.options import CompileOptions, PathLike
    from mosaic_onnx.profiling.progress import Progress


def compile(
    model: PathLike,
    *,
    output: PathLike | None = None,
    force: bool = False,
    devices: Sequence[str] = (),
    cache: bool = True,
    progress: Progress | None = None,
    note: Note = say_nothing,
    **options: Unpack[CompileOptions],
) -> Bundle:
    """Profile, plan, partition, measure and prove a model, and write the bundle.

    Args:
        model: the model's file.
        output: the bundle's folder; by default ``MODEL.mosaic`` beside the model.
        force: replace a bundle that is there.
        devices: names, devices files or shipped descriptions; none for every real device of the model's precision.
        cache: keep measurements, and use kept ones.
        progress: told how far the measuring has come.
        note: told what was assumed.
        **options: see ``CompileOptions``.

    Raises:
        MosaicError: of the kind that the thing has: model, usage, infeasible, outputs differ, backend.
    """
    from mosaic_onnx.files.bundle import read_bundle

    folder = free_bundle_folder(model, output, force=force)
    compilation = compile_unwritten(model, devices=devices, cache=cache, progress=progress, note=note, **options)
    from mosaic_onnx.pipeline.open_bundle import bind_bundle

    return bind_bundle(read_bundle(write(compilation, folder, force=force)), trust=True)


def compile_unwritten(
    model: PathLike,
    *,
    devices: Sequence[str] = (),
    cache: bool = True,
    progress: Progress | None = None,
    note: Note = say_nothing,
    **options: Unpack[CompileOptions],
) -> Compilation:
    """Compile without writing; ``write`` makes the bundle of it.

    Args:
        model: the model's file.
        devices: as for ``compile``, like the rest.
        cache: keep measurements, and use kept ones.
        progress: told how far the measuring has come.
        note: told what was assumed.
        **options: see ``CompileOptions``.

    Raises:
        OutputsDifferError: the plan does not compute what the model computes.
        MosaicError: as for ``compile``.
    """
    with Children(ahead=True) as children:
        from mosaic_onnx.loading.checks import Limits
        from mosaic_onnx.loading.files import refuse_unreadable

        refuse_unreadable(Path(model), Limits().file_bytes)
        from mosaic_onnx.discovery.selection import started_backends

        backends = started_backends()
        from mosaic_onnx.api.machine import select_aloud
        from mosaic_onnx.files.cache import Cache
        from mosaic_onnx.pipeline.compilation import compile_model

        request = options.get("request")
        lower = request is not None and request.max_error is not None
        selection = select_aloud(devices, note, lower=lower, backends=backends)
        kept = Cache() if cache else None
        compilation = compile_model(Path(model), selection, kept, note, progress, children, **options)
    for one in (compilation, *compilation.shapes):
        if not one.state.proof.passed:
            words = "; ".join(one.state.proof.failures[:3])
            raise OutputsDifferError(
                f"{Path(model).name}: the partitioned model is not right: {words}", "nothing was written"
            )
    return compilation


def write(compilation: Compilation, folder: PathLike, *, force: bool = False) -> Path:
    """Write the bundle of a compilation, and return its folder.

    Raises:
        UsageError: the folder cannot be written, or is there and ``force`` is off.
    """
    from mosaic_onnx.pipeline.delivery import deliver

    deliver(compilation, Path(folder), force=force)
    return Path(folder)


def bundle_folder(model: PathLike, output: PathLike | None = None) -> Path:
    """Return the path of a bundle: the given folder, or ``MODEL.mosaic`` beside the model."""
    return Path(model).with_suffix(".mosaic") if output is None else Path(output)


def free_bundle_folder(model: PathLike, output: PathLike | None = None, *, force: bool = False) -> Path:
    """Return where a bundle goes, before anything is measured for it.

    Raises:
        UsageError: something else is there, or the folder above cannot take it.
    """
    from mosaic_onnx.files.bundle import refuse_target

    folder = bundle_folder(model, output)
    given = Path(model)
    refuse_target(folder, force=force, least_bytes=given.stat().st_size if given.is_file() else 0)
    return folder


def annotate(model: PathLike, profile: Profile, plan: Plan, output: PathLike, *, force: bool = False) -> Annotated:
    """Write a model whose nodes are tagged with a plan's devices, for stock ONNX Runtime.

    Args:
        model: the model that was profiled.
        profile: what the plan was made from.
        plan: where its layers run.
        output: the file to write.
        force: replace it where it is there.

    Returns:
        The files, and the session option ``session.layer_assignment_settings`` with its value.

    Raises:
        ModelError: the model cannot be read, or the plan is not of it.
        UsageError: the output is there already, or cannot be written.
    """
    from mosaic_onnx.files.atomic import refuse_to_replace
    from mosaic_onnx.pipeline.exporting import annotate_model

    refuse_to_replace(Path(output), force=force)
    return annotate_model(Path(model), profile, plan, Path(output))
