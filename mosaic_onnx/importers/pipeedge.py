"""PipeEdge's scheduler files (Hu et al., DSD 2022) as profiles: chains of layers on hosts of several kinds.

Three YAML files (github.com/usc-isi/PipeEdge, README_Scheduler): ``models.yml`` (each model's layers: megabytes of
memory, numbers of output elements), ``device_types.yml`` (bandwidth, memory and each layer's seconds by model, batch
size and type) and ``devices.yml`` (hosts of each kind). As in PipeEdge's scheduler, a megabyte has 2^20 bytes and a
megabit 2^20 bits, a link between two hosts has the lower of their bandwidths, and a tensor has the bytes of its element
type times the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.core.profiles import HOST, Cost, Profile, ProfileLayer, TransferCost
from mosaic_onnx.importers.reading import Fields, nonnegative, objects, read_text

FORM = "pipeedge"
MIB = 2**20
TYPE_BYTES = {"torch.float64": 8, "torch.float32": 4, "torch.float16": 2, "torch.bfloat16": 2, "torch.int8": 1}


def import_pipeedge(
    path: Path,
    *,
    model: str | None = None,
    device_types: str | None = None,
    devices: str | None = None,
    batch_size: int = 8,
    dtype: str = "torch.float32",
) -> Profile:
    """Return the profile of one model on all hosts.

    Args:
        path: ``models.yml``.
        model: its name; needed where the file has several with layers.
        device_types: the file of that name; by default ``device_types.yml`` beside ``path``.
        devices: likewise; by default ``devices.yml`` beside ``path``.
        batch_size: of the measurements that are taken.
        dtype: of the measurements that are taken.

    Raises:
        ModelError: a file does not have this format; the message names the place in it.
        UsageError: there is no such model, or no such measurement of it.
    """
    if dtype not in TYPE_BYTES:
        raise UsageError(f"element type {dtype!r} is unknown", f"Known: {', '.join(TYPE_BYTES)}.")
    models = _mapping(path)
    name = _model_name(models, model, path)
    described = Fields(models[name], f"{path}: {name}")
    layer_count = int(described.number("layers"))
    memory_mb = _numbers(described, "mem_MB", layer_count)
    unit_bytes = TYPE_BYTES[dtype] * batch_size
    sizes = [described.number("parameters_in"), *_numbers(described, "parameters_out", layer_count)]
    types_path = path.with_name("device_types.yml") if device_types is None else Path(device_types)
    hosts = _hosts(path.with_name("devices.yml") if devices is None else Path(devices))
    kinds = _kinds(types_path, hosts, name, layer_count, batch_size, dtype)
    all_hosts = [(host, kind) for kind, members in hosts.items() for host in members]
    tensors = ["input", *(f"layer{number}:0" for number in range(1, layer_count + 1))]
    layers = tuple(
        ProfileLayer(
            name=f"layer{number + 1}",
            inputs=(tensors[number],),
            outputs=(tensors[number + 1],),
            cost={host: Cost(kinds[kind].seconds[number]) for host, kind in all_hosts if kind in kinds},
            parameter_bytes=round(memory_mb[number] * MIB),
        )
        for number in range(layer_count)
    )
    return Profile(
        model_name=name,
        devices=tuple(
            Device(host, memory_bytes=int(kinds[kind].memory_mb * MIB), meta={"type": kind})
            for host, kind in all_hosts
            if kind in kinds
        ),
        tensor_bytes={tensor: round(size * unit_bytes) for tensor, size in zip(tensors, sizes, strict=True)},
        inputs=("input",),
        outputs=(tensors[-1],),
        layers=layers,
        copies=_copies([(host, kinds[kind].bytes_per_s) for host, kind in all_hosts if kind in kinds]),
        meta={"imported_from": FORM, "file": path.name, "batch_size": batch_size, "dtype": dtype},
    )


class _Kind:
    """A kind of host: its link, its memory and its seconds for each layer of one model."""

    def __init__(self, fields: Fields, seconds: list[float]) -> None:
        """Take bandwidth and memory."""
        self.bytes_per_s = fields.number("bw_Mbps") * MIB / 8
        self.memory_mb = fields.number("mem_MB")
        self.seconds = seconds
        if not self.bytes_per_s > 0:
            raise ModelError(f"{fields.where}.bw_Mbps: must be above 0", "A host without a link cannot take part.")


def _kinds(
    path: Path, hosts: Mapping[str, list[str]], model: str, layer_count: int, batch_size: int, dtype: str
) -> dict[str, _Kind]:
    """Return the kinds that have hosts."""
    listed = _mapping(path)
    found = {}
    for kind, members in hosts.items():
        if not members:
            continue
        if kind not in listed:
            raise ModelError(
                f"{path}: has no device type {kind!r}, of which there are hosts", "Give both files of one run."
            )
        fields = Fields(listed[kind], f"{path}: {kind}")
        profiles = Fields(fields.get("model_profiles") or {}, f"{path}: {kind}.model_profiles")
        runs = objects(profiles.get(model) or [], f"{path}: {kind}.model_profiles.{model}")
        run = next((one for one in runs if one.number("batch_size") == batch_size and one.word("dtype") == dtype), None)
        if run is None:
            raise UsageError(
                f"{path}: {kind} has no measurement of {model} at batch size {batch_size} in {dtype}",
                "Give batch_size and dtype of one that is there.",
            )
        found[kind] = _Kind(fields, _numbers(run, "time_s", layer_count))
    if not found:
        raise ModelError(f"{path}: no device type has a host", "devices.yml must name hosts.")
    return found


def _model_name(models: Mapping[str, object], wanted: str | None, path: Path) -> str:
    known = [name for name, fields in models.items() if Fields(fields, f"{path}: {name}").number("layers") > 0]
    if wanted is None and len(known) == 1:
        return known[0]
    if wanted is None or wanted not in known:
        what = f"no model {wanted!r}" if wanted is not None else f"{len(known)} models"
        raise UsageError(f"{path} has {what}", f"Give model=…: {', '.join(known) or 'there is none'}.")
    return wanted


def _hosts(path: Path) -> dict[str, list[str]]:
    """Return the names of the hosts of each kind."""
    found: dict[str, list[str]] = {}
    for kind, members in _mapping(path).items():
        if not isinstance(members, list) or not all(isinstance(one, str) and one for one in members):
            raise ModelError(f"{path}: {kind}: must be a list of hosts", "Is it the devices.yml?")
        found[kind] = members
    every = [host for members in found.values() for host in members]
    twice = next((host for host in every if every.count(host) > 1), None)
    if twice is not None:
        raise ModelError(f"{path}: host {twice!r} stands twice", "Each host is of one type.")
    return found


def _numbers(fields: Fields, key: str, count: int) -> list[float]:
    """Return a list of so many numbers of at least 0."""
    values = fields.required(key)
    if not isinstance(values, list) or len(values) != count:
        have = len(values) if isinstance(values, list) else "no list of"
        raise ModelError(f"{fields.where}.{key}: has {have} numbers, there are {count} layers", "One for each layer.")
    return [nonnegative(value, f"{fields.where}.{key}[{index}]") for index, value in enumerate(values)]


def _mapping(path: Path) -> Mapping[str, object]:
    """Return the mapping in a YAML file.

    Raises:
        ModelError: it cannot be read, or is no mapping.
        UsageError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise UsageError("PipeEdge's files are YAML, which needs PyYAML", "pip install 'mosaic-onnx[yaml]'") from None
    try:
        content = yaml.safe_load(read_text(path, FORM))
    except (yaml.YAMLError, RecursionError) as error:
        raise ModelError(f"{path}: is not YAML: {str(error).splitlines()[0]}", "Is it the right file?") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ModelError(f"{path}: must be a mapping of names", "Is it the right kind of file?")
    return content


def _copies(hosts: list[tuple[str, float]]) -> tuple[TransferCost, ...]:
    """Return links between all hosts at the lower bandwidth of the two; data comes and goes at the host's own."""
    between = [
        TransferCost(one, other, 1.0 / min(rate, other_rate))
        for one, rate in hosts
        for other, other_rate in hosts
        if one != other
    ]
    outside = [TransferCost(*pair, 1.0 / rate) for name, rate in hosts for pair in ((HOST, name), (name, HOST))]
    return (*outside, *between)
