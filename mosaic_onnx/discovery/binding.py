"""Bind the devices that a bundle names to trusted devices of this machine; a bundle is not trusted.

Options that name code or a path (a provider's library or package, a cache folder, cores that are absent) come only from
devices that discovery finds or that the user names. A bundle's entry may set the options that its backend
declares harmless (``backends/option_model.py``); all others must be exactly those of one of this machine's devices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mosaic_onnx.backends.base import Backend, DeclaresOptions
from mosaic_onnx.backends.option_model import OptionRule, why_refused
from mosaic_onnx.core.devices import Device, OptionValue
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.discovery.registry import find_all, select_devices


def bind_devices(
    entries: Sequence[Device],
    backends: Mapping[str, Backend],
    words: Sequence[str] = (),
    *,
    trust: bool = False,
    what: str = "bundle",
) -> tuple[Device, ...]:
    """Return the devices that run a bundle's slices, in the bundle's order.

    Args:
        entries: the bundle's descriptions of its devices.
        backends: by name.
        words: the user's own devices: names, ``devices.toml`` files or shipped descriptions; one with the name of an
            entry replaces the entry.
        trust: take the entries as they are.
        what: what to call the bundle in errors.

    Raises:
        UsageError: an entry sets what only this machine's own devices may set, a word names nothing, or a backend is
            not installed.
        ModelError: a devices file is wrong.
    """
    named = {device.name: device for device in select_devices(words, find_all(backends))} if words else {}
    return tuple(named.get(each.name) or _bound(each, backends, named.values(), trust, what) for each in entries)


def _bound(entry: Device, backends: Mapping[str, Backend], named: Iterable[Device], trust: bool, what: str) -> Device:
    backend = backends.get(entry.backend)
    if backend is None:
        raise UsageError(
            f"{what}: device {entry.name} wants backend {entry.backend!r}, which is not installed",
            f"installed: {', '.join(backends)}; or name a device of yours in its place: -d devices.toml",
        )
    if entry.host and not trust:
        raise UsageError(
            f"{what}: device {entry.name} belongs to another machine, {entry.host!r}",
            f"name a device of yours called {entry.name} (-d devices.toml), or --trust a bundle whose maker you know",
        )
    refused = {} if trust else refused_options(entry, backend)
    if refused and not _is_local(
        entry, refused, (*named, *find_all({entry.backend: backend}).devices.values()), backend
    ):
        key, reason = next(iter(refused.items()))
        raise UsageError(
            f"{what}: device {entry.name} sets {key} = {entry.options[key]!r}, which no device of this machine has: "
            f"{reason}",
            f"name a device of yours called {entry.name} (-d devices.toml), or --trust a bundle whose maker you know",
        )
    return entry


def refused_options(entry: Device, backend: Backend) -> dict[str, str]:
    """Return the options of an entry that a stranger may not set, each with the reason."""
    rules: tuple[OptionRule, ...] = backend.option_rules(entry) if isinstance(backend, DeclaresOptions) else ()
    reasons = {key: why_refused(key, value, rules) for key, value in entry.options.items()}
    return {key: reason for key, reason in reasons.items() if reason is not None}


def _is_local(entry: Device, refused: Iterable[str], local: Iterable[Device], backend: Backend) -> bool:
    """Return whether a device of this machine has exactly these values of the options that the entry may not set."""
    wanted = {key: entry.options[key] for key in refused}
    return any(each.backend == entry.backend and _own_options(each, backend) == wanted for each in local)


def _own_options(device: Device, backend: Backend) -> dict[str, OptionValue]:
    return {key: device.options[key] for key in refused_options(device, backend)}
