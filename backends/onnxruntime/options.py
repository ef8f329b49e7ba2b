"""Options of an ONNX Runtime device, read once and checked: ``[devices.options]`` in ``devices.toml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from mosaic_onnx.backends.onnxruntime.provider_facts import facts_of
from mosaic_onnx.backends.option_model import OptionRule, harmless, rules_of
from mosaic_onnx.core.devices import Device, OptionValue
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.process.cpu_cores import (
    can_pin,
    default_thread_count,
    parse_cores,
    refuse_thread_count,
    why_not_cores,
    why_not_threads,
)

CPU_PROVIDER = "CPUExecutionProvider"
OPTIMISATIONS = ("all", "extended", "basic", "disabled")
_PROVIDER_OPTION = "provider_options."
_SESSION_ENTRY = "session_entries."


@dataclass(frozen=True)
class OrtOptions:
    """An ONNX Runtime device's options; a bundle may set those that are declared harmless.

    Attributes:
        provider: the execution provider's name.
        package: Python package of the provider's plugin (``get_library_path()``).
        library: the plugin's shared library, where no package has it.
        hardware: index among the devices that the plugin offers (``ort.get_ep_devices()``).
        provider_options: options for the provider (``provider_options.KEY`` in the file); a value
            ``package:FUNCTION`` is replaced by that function's result (such as a path in the package).
        session_entries: session configuration entries (``session_entries.KEY``).
        threads: intra-operator threads, the calling one included.
        cores: cores that these threads are pinned to, in order: the caller to the first; empty for no pinning.
        spinning: threads wait busily between operators; faster alone, very slow when several slices share cores.
        optimisation: level of graph optimisation.
        cpu_fallback: let ONNX Runtime's CPU provider run nodes that this provider refuses.
        own_memory: device type whose memory holds the tensors (``cuda``); empty for the plugin's, or host memory.
        frequency_domain: name of the domain whose frequencies are the device's levels (``card0``, a devfreq device);
            empty for the CPU's own.
        huge_pages: put weights on huge pages where the system allows it; a load takes longer, runs less.
        legalise: rewrite operators that the provider lacks into ones that it has.
        runtime_default: leave threads, their cores and spinning to ONNX Runtime, as a plain session does.
    """

    provider: str = CPU_PROVIDER
    package: str = ""
    library: str = ""
    hardware: int = harmless(0)
    provider_options: Mapping[str, str] = field(default_factory=dict)
    session_entries: Mapping[str, str] = field(default_factory=dict)
    threads: int = harmless(1, check=why_not_threads)
    cores: tuple[int, ...] = harmless((), check=why_not_cores)
    spinning: bool = harmless(default=False)
    optimisation: str = harmless("all")
    cpu_fallback: bool = harmless(default=False)
    own_memory: str = ""
    frequency_domain: str = ""
    huge_pages: bool = harmless(default=True)
    legalise: bool = harmless(default=True)
    runtime_default: bool = harmless(default=False)

    @property
    def is_cpu(self) -> bool:
        """Return whether this is ONNX Runtime's own CPU provider, not a vendor's."""
        return self.provider == CPU_PROVIDER

    @property
    def is_plugin(self) -> bool:
        """Return whether the provider is a plugin in a library of its own."""
        return bool(self.package or self.library)


_TABLES = ("provider_options", "session_entries")
_PLAIN: Mapping[str, type] = {
    each.name: type(each.default) for each in fields(OrtOptions) if each.name not in (*_TABLES, "cores")
}
_HARMLESS_ENTRIES = (
    "session.disable_prepacking",
    "session.intra_op.allow_spinning",
    "session.inter_op.allow_spinning",
    "session.qdqisint8allowed",
    "session.set_denormal_as_zero",
    "session.use_device_allocator_for_initializers",
)
"""Session entries that a bundle may set; others name files to write (``ep.context_file_path``) or to read."""


def option_rules(provider: str) -> tuple[OptionRule, ...]:
    """Return every option of a device of the provider, and whether a bundle may set it."""
    tables = {"provider_options": facts_of(provider).harmless_options, "session_entries": _HARMLESS_ENTRIES}
    return rules_of(OrtOptions, tables)


def read_options(device: Device) -> OrtOptions:
    """Return the device's options.

    Raises:
        UsageError: an option is unknown or its value does not fit; the message names device and option.
    """
    plain: dict[str, object] = {}
    nested: dict[str, dict[str, str]] = {_PROVIDER_OPTION: {}, _SESSION_ENTRY: {}}
    for key, value in device.options.items():
        prefix = next((each for each in nested if key.startswith(each)), None)
        if prefix is not None:
            nested[prefix][key.removeprefix(prefix)] = _as_text(value)
        elif key in _PLAIN:
            plain[key] = _checked(device.name, key, value)
        elif key != "cores":
            known = ", ".join([*_PLAIN, "cores", "provider_options.*", "session_entries.*"])
            raise UsageError(f"device {device.name}: option {key!r} is unknown", f"known: {known}")
    cores = _cores(device)
    plain.setdefault("threads", len(cores) or default_thread_count())
    options = OrtOptions(
        **plain,  # type: ignore[arg-type]  # checked against _PLAIN above
        cores=cores,
        provider_options=nested[_PROVIDER_OPTION],
        session_entries=nested[_SESSION_ENTRY],
    )
    _check(device.name, options)
    return options


def _as_text(value: OptionValue) -> str:
    """Return an option as ONNX Runtime's text; true and false as 1 and 0."""
    return str(int(value)) if isinstance(value, bool) else str(value)


def _checked(device: str, key: str, value: OptionValue) -> OptionValue:
    kind = _PLAIN[key]
    if type(value) is not kind:
        raise UsageError(f"device {device}: option {key} = {value!r} is not of type {kind.__name__}")
    return value


def _cores(device: Device) -> tuple[int, ...]:
    if "cores" not in device.options:
        return ()
    if not can_pin():
        raise UsageError(f"device {device.name}: this system cannot pin threads to cores", "leave option cores out")
    return parse_cores(str(device.options["cores"]))


def _check(device: str, options: OrtOptions) -> None:
    refuse_thread_count(device, options.threads)
    if options.runtime_default and (options.cores or options.spinning):
        raise UsageError(
            f"device {device}: runtime_default leaves cores and spinning to ONNX Runtime", "leave them out"
        )
    if options.cores and options.threads > len(options.cores):
        raise UsageError(
            f"device {device}: {options.threads} threads on {len(options.cores)} cores",
            "give as many cores as threads, or leave threads out",
        )
    if options.optimisation not in OPTIMISATIONS:
        known = ", ".join(OPTIMISATIONS)
        raise UsageError(f"device {device}: optimisation = {options.optimisation!r} is unknown", f"known: {known}")
    if options.package and options.library:
        raise UsageError(f"device {device}: package and library exclude each other")
