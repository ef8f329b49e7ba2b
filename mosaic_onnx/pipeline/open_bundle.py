"""From a bundle to something that runs, or is verified, on this machine's devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mosaic_onnx.backends.base import Array, Backend, SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.discovery.binding import bind_devices
from mosaic_onnx.discovery.registry import backends, find_all
from mosaic_onnx.discovery.selection import Selection
from mosaic_onnx.files.bundle import Bundle
from mosaic_onnx.files.cache import digest
from mosaic_onnx.files.manifest import SLICES
from mosaic_onnx.isolation.backend import isolated
from mosaic_onnx.loading.compiled_nodes import refuse_compiled_nodes
from mosaic_onnx.loading.model import open_model
from mosaic_onnx.loading.normalise import Normalised
from mosaic_onnx.passes.base import run_passes
from mosaic_onnx.passes.editing import configured
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.pipelines import VERIFY
from mosaic_onnx.planning.candidates import PLAN, Candidate
from mosaic_onnx.profiling.machine import fingerprint
from mosaic_onnx.rewriting.joint_optimise import Tune
from mosaic_onnx.rewriting.rewrite import REFUSES, Canonical
from mosaic_onnx.runtime.executor import Executor, open_program
from mosaic_onnx.verification.report import VerifyReport
from mosaic_onnx.verification.verify import Progress


def machine_fingerprint(versions: Mapping[str, str]) -> str:
    """Digest of what tuned slices fit: the processor, and the versions of the runtimes."""
    return digest({"machine": fingerprint(), "versions": dict(versions)})


def bind_bundle(bundle: Bundle, words: Sequence[str] = (), *, trust: bool = False) -> Bundle:
    """The bundle with this machine's devices in place of what it says of them; one that is bound stays as it is.

    Args:
        bundle: from anybody.
        words: the user's own devices, which take the place of the bundle's by name.
        trust: take what the bundle says of its devices, though it may name libraries to load and folders to write, and
            what its models hold for a vendor's parser.

    Raises:
        UsageError: a device of the bundle names code or a path that no device of this machine has.
        ModelError: a slice holds what a vendor's compiler made.
    """
    if bundle.is_bound and not words:
        return bundle
    if trust:
        bundle = bundle.trusted()
    else:
        for one in (bundle, *bundle.shapes):
            slices = (*one.slices, *one.tuned.values())
            refuse_compiled_nodes((each.model for each in slices), f"bundle {bundle.folder}")
    devices = bind_devices(bundle.devices, backends(), words, trust=trust, what=str(bundle.folder))
    shapes = tuple(replace(one, devices=devices, is_bound=True) for one in bundle.shapes)
    return replace(bundle, devices=devices, is_bound=True, shapes=shapes)


def open_bundle(bundle: Bundle, *, portable: bool = False) -> Executor:
    """Load a bundle's slices on this machine's devices, as they run best on it.

    Args:
        bundle: what to load; bound here where it is not yet.
        portable: load the portable slices, whatever is tuned.

    Raises:
        UsageError: a device or backend of the bundle is not here.
        BackendError: a slice cannot be loaded.
    """
    bundle = bind_bundle(bundle)
    devices = {device.name: device for device in bundle.devices}
    candidates = backends()
    slices = bundle.slices if portable else tuned_slices(bundle, devices, candidates)
    return open_program(slices, bundle.plan, devices, candidates, inputs=bundle.inputs, outputs=bundle.outputs)


def tuned_slices(
    bundle: Bundle, devices: Mapping[str, Device], candidates: Mapping[str, Backend]
) -> tuple[SliceModel, ...]:
    """The slices as they run best here: the bundle's own where it was made here, else cut anew."""
    if not bundle.tuned:
        return bundle.slices
    if bundle.fingerprint == machine_fingerprint(find_all(candidates).versions):
        return tuple(bundle.tuned.get(number, one) for number, one in enumerate(bundle.slices))
    return Tune(devices, candidates)(bundle.original(), str(bundle.folder / SLICES), bundle.plan, bundle.slices)


def state_of_bundle(bundle: Bundle, inputs: Mapping[str, Array]) -> State:
    """Return a bundle as a compilation left it, for the passes that come after ``select``.

    Args:
        bundle: what was delivered.
        inputs: what it is run with.
    """
    model = bundle.original()
    candidates = isolated(backends())
    devices = {device.name: device for device in bundle.devices}
    refusal = next((note for note in bundle.manifest.get("rewritten", ()) if note.startswith(REFUSES)), None)
    delivered = Candidate(
        PLAN,
        bundle.plan,
        cut=lambda plan: (bundle.slices, tuned_slices(bundle, devices, candidates)),
        partition=lambda plan: Canonical(open_model(bundle.model_path).model, str(bundle.folder), refusal=refusal),
    )
    precision = bundle.manifest.get("precision") or {}
    return State(
        path=bundle.folder,
        selection=Selection(bundle.devices, bundle.devices, (), (), candidates, {}),
        normalised=Normalised(model, str(bundle.folder / SLICES), {}),
        inputs=inputs,
        plan=bundle.plan,
        delivered=delivered,
        budget=precision.get("budget"),
    )


def verify_bundle(bundle: Bundle, inputs: Mapping[str, Array], progress: Progress | None = None) -> VerifyReport:
    """Every slice, the whole, and the partitioned file against the uncut, unoptimised model.

    A bundle that was compiled within a budget of errors is held to that, end to end, on these inputs too.

    Raises:
        ModelError: there is no reference for this model.
        BackendError: a slice cannot be loaded, or the reference cannot run.
    """
    passes = configured(VERIFY, {"progress": progress})
    return run_passes(passes, state_of_bundle(bind_bundle(bundle), inputs)).proof
