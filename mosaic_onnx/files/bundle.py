"""The bundle: the folder that ``compile`` writes, whole or not at all, and that ``run`` and ``verify`` read.

==============================  ====================================================================================
``model.onnx``                  the canonical partitioned model, which any runtime can run
``slices/NNN.onnx``             each slice as a model of its own
``slices/uncut.onnx``           the model before it was cut, with concrete shapes: the reference of ``verify``
``slices/weights.bin``          the weights of all of them, each content once
``tuned/NNN.onnx``              slices as they run best on the machine that compiled; recompiled elsewhere
``tuned/weights.bin``           their weights
``plan.json, profile.json``     the plan, and the measurements behind it
``devices.toml``                the devices that the plan uses, with their options
``manifest.json``               digests, versions, the command, how to replay it, measurements
==============================  ====================================================================================
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx

from mosaic_onnx import __version__
from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.core.errors import ModelError, MosaicError, UsageError
from mosaic_onnx.core.graph.signature import TensorSpec, given_inputs, tensor_specs
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.files.atomic import refuse_unwritable
from mosaic_onnx.files.device_file import devices_to_toml, read_devices
from mosaic_onnx.files.in_place import can_exchange, put_in_place
from mosaic_onnx.files.manifest import (
    DEVICES,
    MANIFEST,
    MODEL,
    ORIGINAL,
    PLAN,
    PROFILE,
    SCHEMA,
    SLICES,
    TUNED,
    WEIGHTS,
    ShapeEntry,
    SliceEntry,
    TunedEntry,
    read_manifest,
    shape_prefix,
)
from mosaic_onnx.files.plan_file import plan_to_json, read_plan
from mosaic_onnx.files.profile_file import profile_to_json, read_profile
from mosaic_onnx.files.seal import file_digests, sealed
from mosaic_onnx.files.weights_file import Source, WeightsFile
from mosaic_onnx.loading.compiled_nodes import refuse_compiled_nodes
from mosaic_onnx.loading.model import open_model, open_models


@dataclass(frozen=True)
class BundleContents:
    """The content of a bundle that is to be written.

    Attributes:
        model: the canonical partitioned model.
        folder: where its external data lies; None where there is none.
        original: the model before it was cut, sorted, shapes concrete.
        original_folder: where the external data of ``original`` lies; None where there is none.
        slices: in the plan's order.
        profile: the measurements.
        plan: the plan.
        devices: those that the plan uses, with their options.
        tuned: the slices as they run best on this machine; those that are optimised are kept.
        fingerprint: of the machine and runtimes that they fit.
        facts: the manifest's other keys (versions, machine, command, measurements), as JSON values.
        shapes: the same model for further shapes of its inputs; what is equal is written once.
        weight_digests: content digests of external data, as far as they are known: it is not read for them again.
    """

    model: onnx.ModelProto
    folder: str | None
    original: onnx.ModelProto
    original_folder: str | None
    slices: Sequence[SliceModel]
    profile: Profile
    plan: Plan
    devices: Sequence[Device]
    tuned: Sequence[SliceModel] = ()
    fingerprint: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    shapes: Sequence[BundleContents] = ()
    weight_digests: Mapping[Source, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk, read and checked.

    Attributes:
        folder: where it lies.
        plan: the plan.
        devices: those that the plan uses, as the bundle describes them; not trusted until bound.
        slices: in the plan's order; weights still external.
        input_specs: what the model takes.
        output_specs: what the model gives.
        tuned: by slice, the optimised model that the machine with ``fingerprint`` runs in its place.
        fingerprint: of the machine and runtimes that ``tuned`` fits.
        manifest: all of ``manifest.json``.
        is_bound: ``devices`` are this machine's own (``discovery.binding``), no longer the bundle's descriptions.
        is_trusted: the user trusts its maker: its models may hold what a vendor's compiler made.
        shapes: the same model for further shapes of its inputs.
        prefix: what the names of this one's files begin with.
    """

    folder: Path
    plan: Plan
    devices: tuple[Device, ...]
    slices: tuple[SliceModel, ...]
    input_specs: tuple[TensorSpec, ...]
    output_specs: tuple[TensorSpec, ...]
    tuned: Mapping[int, SliceModel]
    fingerprint: str
    manifest: Mapping[str, Any]
    is_bound: bool = False
    is_trusted: bool = False
    shapes: tuple[Bundle, ...] = ()
    prefix: str = ""

    @cached_property
    def profile(self) -> Profile:
        """Return the profile; it is read at first use, since running does not need it.

        Raises:
            ModelError: the file is wrong.
        """
        return read_profile(self.folder / f"{self.prefix}{PROFILE}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the names of the model's inputs."""
        return tuple(one.name for one in self.input_specs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the model's outputs."""
        return tuple(one.name for one in self.output_specs)

    @property
    def model_path(self) -> Path:
        """Return the path of the canonical partitioned model."""
        return self.folder / f"{self.prefix}{MODEL}"

    @property
    def original_path(self) -> Path:
        """Return the path of the model before it was cut."""
        return self.folder / SLICES / f"{self.prefix}{ORIGINAL}"

    def original(self) -> onnx.ModelProto:
        """Return the model before it was cut; its external data lies in ``slices/``.

        Raises:
            ModelError: the file is damaged, or holds what a vendor's compiler made and the bundle is not trusted.
        """
        model = open_model(self.original_path).model
        if not self.is_trusted:
            refuse_compiled_nodes([model], f"bundle {self.folder}")
        return model

    def trusted(self) -> Bundle:
        """Return the same bundle from a maker whom the user trusts."""
        return replace(self, is_trusted=True, shapes=tuple(one.trusted() for one in self.shapes))


def refuse_target(folder: Path, *, force: bool, least_bytes: int = 0) -> None:
    """Raise ``UsageError`` before long work whose result could not be written, or would replace something.

    Args:
        folder: where a bundle will be.
        force: replace one that is there.
        least_bytes: what it will take at least.

    Raises:
        UsageError: the folder exists and ``force`` is off, or it is not a bundle; or there is no room for it.
    """
    refuse_unwritable(folder.parent, least_bytes)
    if not folder.exists():
        return
    if not force:
        raise UsageError(f"{folder} exists", "name another output with -o, or --force to replace it")
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / MANIFEST).is_file()):
        raise UsageError(f"{folder} is not a bundle, so --force does not replace it", "name another output with -o")
    try:
        exchanges = can_exchange(folder.parent)
    except OSError as error:
        raise UsageError(f"cannot write in {folder.parent}: {error.strerror}", "name another output with -o") from error
    if not exchanges:
        raise UsageError(
            f"the file system of {folder.parent} cannot replace a folder in one step, so --force could lose {folder}",
            "remove it yourself, or name another output with -o",
        )


def write_bundle(contents: BundleContents, folder: Path, *, force: bool = False) -> None:
    """Write a bundle beside its place and move it there in one step; the same contents give the same bytes.

    Raises:
        UsageError: see ``refuse_target``; or the disk is full, or fails. What was there before is there still.
        ModelError: external data cannot be read.
    """
    refuse_target(folder, force=force)
    with written_beside(folder) as temporary:
        _write_files(contents, temporary)


@contextmanager
def written_beside(folder: Path) -> Iterator[Path]:
    """A new folder to write to, which takes the place of ``folder`` when the block ends well and is gone otherwise.

    Raises:
        UsageError: a file cannot be written.
        ModelError: a file that the block reads cannot be read.
    """
    temporary: Path | None = None
    try:
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        yield temporary
        temporary.chmod(0o755)
        put_in_place(temporary, folder)
    except OSError as error:
        raise _named(error, folder, temporary) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _named(error: OSError, folder: Path, temporary: Path | None) -> MosaicError:
    """Return the error in terms of what the user named: the bundle, or a file that was read for it."""
    named = None if error.filename is None else Path(os.fsdecode(error.filename))
    if named is not None and temporary is not None and temporary not in (named, *named.parents) and named != folder:
        return ModelError(f"cannot read {named}: {error.strerror}")
    return UsageError(f"cannot write {folder}: {error.strerror}", "free some space, or name another output with -o")


def _write_files(contents: BundleContents, folder: Path) -> None:
    every = (contents, *contents.shapes)
    (folder / SLICES).mkdir()
    with (folder / SLICES / WEIGHTS).open("wb") as file:
        known = {source: digest for one in every for source, digest in one.weight_digests.items()}
        weights = WeightsFile(file, digests=known)
        for number, one in enumerate(every):
            _write_models(one, folder, weights, shape_prefix(number))
    tuned = _write_tuned(every, folder)
    devices = tuple({device.name: device for one in every for device in one.devices}.values())
    (folder / DEVICES).write_text(devices_to_toml(devices), encoding="utf-8")
    manifest = {
        "schema": SCHEMA,
        "mosaic_onnx": __version__,
        "files": file_digests(folder),
        "devices": [device.name for device in devices],
        **_entry(contents, ""),
        "tuned": {"fingerprint": contents.fingerprint, "slices": tuned[0]},
        **contents.facts,
    }
    further = [
        {**_entry(one, shape_prefix(number)), "tuned": tuned[number], **one.facts}
        for number, one in enumerate(contents.shapes, 1)
    ]
    if further:
        manifest["shapes"] = further
    text = json.dumps(sealed(manifest), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _write_models(contents: BundleContents, folder: Path, weights: WeightsFile, prefix: str) -> None:
    """Write the model for one set of shapes: whole, partitioned and in slices, with its plan and profile."""
    slices = folder / SLICES
    _write_model(contents.original, contents.original_folder, weights, slices / f"{prefix}{ORIGINAL}", WEIGHTS)
    _write_model(contents.model, contents.folder, weights, folder / f"{prefix}{MODEL}", f"{SLICES}/{WEIGHTS}")
    for number, one in enumerate(contents.slices):
        _write_model(one.model, one.folder, weights, slices / f"{prefix}{number:03}.onnx", WEIGHTS)
    (folder / f"{prefix}{PLAN}").write_text(plan_to_json(contents.plan), encoding="utf-8")
    (folder / f"{prefix}{PROFILE}").write_text(profile_to_json(contents.profile), encoding="utf-8")


def _entry(contents: BundleContents, prefix: str) -> dict[str, Any]:
    """Return the manifest's entry on the model for one set of shapes."""
    return {
        "inputs": [asdict(one) for one in tensor_specs(given_inputs(contents.original.graph))],
        "outputs": [asdict(one) for one in tensor_specs(contents.original.graph.output)],
        "slices": [
            {"file": f"{SLICES}/{prefix}{number:03}.onnx", "inputs": list(one.inputs), "outputs": list(one.outputs)}
            | {"state": placed.state}
            for number, (one, placed) in enumerate(zip(contents.slices, contents.plan.slices, strict=True))
        ],
    }


def _write_tuned(every: Sequence[BundleContents], folder: Path) -> list[list[dict[str, Any]]]:
    """Write the optimised slices; return what the manifest says of them, for each set of shapes."""
    kept = [[(number, one) for number, one in enumerate(each.tuned) if one.is_optimised] for each in every]
    if any(kept):
        (folder / TUNED).mkdir()
        with (folder / TUNED / WEIGHTS).open("wb") as file:
            weights = WeightsFile(file)
            for at, found in enumerate(kept):
                for number, one in found:
                    path = folder / TUNED / f"{shape_prefix(at)}{number:03}.onnx"
                    _write_model(one.model, one.folder, weights, path, WEIGHTS)
    return [
        [
            {"file": f"{TUNED}/{shape_prefix(at)}{number:03}.onnx", "slice": number}
            | {"inputs": list(one.inputs), "outputs": list(one.outputs)}
            for number, one in found
        ]
        for at, found in enumerate(kept)
    ]


def _write_model(model: onnx.ModelProto, folder: str | None, weights: WeightsFile, path: Path, location: str) -> None:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weights.move(copy, folder, location)
    path.write_bytes(copy.SerializeToString(deterministic=True))


def read_bundle(folder: str | os.PathLike[str]) -> Bundle:
    """Read an untrusted bundle: digests are checked, and no file outside the folder is opened.

    Raises:
        ModelError: it is not a bundle, is damaged, or has another version.
    """
    place = Path(folder)
    manifest, facts = read_manifest(place)
    devices = read_devices(place / DEVICES)
    first = ShapeEntry(
        inputs=manifest.inputs, outputs=manifest.outputs, slices=manifest.slices, tuned=manifest.tuned.slices
    )
    every = [
        _read_shape(place, shape_prefix(number), entry, devices, manifest.tuned.fingerprint)
        for number, entry in enumerate((first, *manifest.shapes))
    ]
    further = zip(every[1:], facts.get("shapes", ()), strict=True)
    shapes = tuple(replace(one, manifest=said) for one, said in further)
    return replace(every[0], manifest=facts, shapes=shapes)


def _read_shape(place: Path, prefix: str, entry: ShapeEntry, devices: tuple[Device, ...], fingerprint: str) -> Bundle:
    """The model for one set of shapes, without what the manifest says besides."""
    plan = read_plan(place / f"{prefix}{PLAN}")
    if len(entry.slices) != len(plan.slices):  # before they are opened: a manifest may name one file a million times
        raise ModelError(f"bundle {place}: {len(plan.slices)} slices are planned, {len(entry.slices)} are here")
    if len(entry.tuned) > len(plan.slices):
        raise ModelError(
            f"bundle {place}: {len(plan.slices)} slices are planned, {len(entry.tuned)} tuned ones are here"
        )
    slices = _slices(place, SLICES, entry.slices)
    states = (*(each.state for each in plan.slices), *plan.replicas)
    strange = {device_of(state) for state in states} - {device.name for device in devices}
    if strange:
        raise ModelError(f"bundle {place}: {DEVICES} does not describe {', '.join(sorted(strange))}")
    optimised = _slices(place, TUNED, entry.tuned, is_optimised=True)
    return Bundle(
        folder=place,
        plan=plan,
        devices=devices,
        slices=slices,
        input_specs=tuple(one.to_spec() for one in entry.inputs),
        output_specs=tuple(one.to_spec() for one in entry.outputs),
        tuned={each.slice: one for each, one in zip(entry.tuned, optimised, strict=True)},
        fingerprint=fingerprint,
        manifest={},
        prefix=prefix,
    )


def _slices(
    place: Path, folder: str, entries: Sequence[SliceEntry | TunedEntry], *, is_optimised: bool = False
) -> tuple[SliceModel, ...]:
    """Return the models that the manifest lists; their weights lie in the same folder."""
    opened = open_models([place / entry.file for entry in entries]) if entries else ()
    for one, entry in zip(opened, entries, strict=True):
        given = {value.name for value in given_inputs(one.model.graph)}
        made = {value.name for value in one.model.graph.output}
        if one.path.parent.name != folder or given != set(entry.inputs) or not set(entry.outputs) <= made:
            raise ModelError(f"bundle {place}: {MANIFEST} and {entry.file} disagree on its inputs or outputs")
    return tuple(
        SliceModel(one.model, str(place / folder), tuple(entry.inputs), tuple(entry.outputs), is_optimised=is_optimised)
        for one, entry in zip(opened, entries, strict=True)
    )
