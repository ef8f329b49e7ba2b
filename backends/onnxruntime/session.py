"""ONNX Runtime sessions of slices, with the options of a device."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import onnx

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.backends.huge_pages import bytes_read_once, on_huge_pages
from mosaic_onnx.backends.integers import empty_tensor
from mosaic_onnx.backends.legalise import legalise
from mosaic_onnx.backends.onnxruntime.cuda import preload
from mosaic_onnx.backends.onnxruntime.options import OrtOptions
from mosaic_onnx.backends.onnxruntime.plugins import provider_options
from mosaic_onnx.backends.onnxruntime.provider_facts import CUDA, facts_of
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.process.cpu_cores import pinned

MEMORY_SUFFIX = ".memory.csv"
"""Suffix of the file in which a recording session writes its kernels' memory."""
_FATAL_ONLY = 4
_RENAMED_BY_LAYOUT = re.compile(r"_token_\d+$")
_SHIPS_IN_CPU_WHEEL = "AzureExecutionProvider"


def session_options(options: OrtOptions, folder: str | None) -> Any:
    """Return the ``ort.SessionOptions`` of a device, without the provider.

    Args:
        options: the device's options.
        folder: the folder of external weights; None where there are none.
    """
    import onnxruntime as ort

    levels = {
        "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
        "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    }
    session = ort.SessionOptions()
    session.log_severity_level = _FATAL_ONLY  # failures are raised with the reason
    if not options.runtime_default:
        session.intra_op_num_threads = options.threads
        session.inter_op_num_threads = 1
    session.graph_optimization_level = levels[options.optimisation]
    for key, value in _entries(options, folder).items():
        session.add_session_config_entry(key, value)
    return session


def _entries(options: OrtOptions, folder: str | None) -> dict[str, str]:
    entries = {"session.record_ep_graph_assignment_info": "1"}
    if not options.runtime_default:
        entries["session.intra_op.allow_spinning"] = str(int(options.spinning))
        entries["session.inter_op.allow_spinning"] = "0"
    if options.threads > 1 and options.cores:
        entries["session.intra_op_thread_affinities"] = thread_affinities(options.cores, options.threads)
    if not options.is_cpu and not options.cpu_fallback:
        entries["session.disable_cpu_ep_fallback"] = "1"
    if folder is not None:
        entries["session.model_external_initializers_file_folder_path"] = folder
    return {**entries, **options.session_entries}


def thread_affinities(cores: tuple[int, ...], threads: int) -> str:
    """Return ONNX Runtime's setting that pins its own threads: one entry per thread, cores counted from 1.

    The calling thread works too and is not in the setting: it is pinned to ``cores[0]`` (``caller_cores``).
    """
    return ";".join(str(core + 1) for core in cores[1:threads])


def caller_cores(options: OrtOptions) -> frozenset[int] | None:
    """Return the cores to which the calling thread is pinned during a run; None where the device is not pinned."""
    return frozenset(options.cores[:1]) if options.cores else None


def make_session(
    model: SliceModel, options: OrtOptions, ep_devices: list[Any] | None, record_to: str | None = None
) -> Any:
    """Compile a slice; ONNX Runtime's exceptions are not converted.

    Args:
        model: the slice.
        options: the device's options.
        ep_devices: the plugin's devices; None for a provider that is built in.
        record_to: prefix of the profiler's file; None for no profiling.
    """
    import onnxruntime as ort

    if facts_of(options.provider).crashes_at_empty and (name := empty_tensor(model.model.graph)) is not None:
        raise BackendError(f"{options.provider} crashes at tensors without elements ({name!r})")
    session = session_options(options, model.folder)
    if record_to is not None:
        session.enable_profiling = True
        session.profile_file_prefix = record_to
        session.add_session_config_entry("session.collect_node_memory_stats_to_file", f"{record_to}{MEMORY_SUFFIX}")
    arguments: dict[str, Any] = {}
    if ep_devices is not None:
        session.add_provider_for_devices(ep_devices, provider_options(options))
    elif options.provider not in ort.get_available_providers():
        raise BackendError(
            f"provider {options.provider} is not built into the installed onnxruntime",
            "install the onnxruntime package that has it, or name its plugin (package, library): docs/devices.md",
        )
    else:
        arguments["providers"] = [(options.provider, provider_options(options))]
    legal = legalise(model.model, facts_of(options.provider).rewritten if options.legalise else ())
    content = with_named_nodes(legal).SerializeToString()
    quiet = nullcontext() if options.is_cpu else stdout_kept_clean()
    cores = frozenset(options.cores) if options.cores else None
    pages = on_huge_pages(bytes_read_once(legal.graph)) if options.huge_pages else nullcontext()
    with quiet, pinned(cores), pages:
        if options.provider == CUDA:
            preload()
        return ort.InferenceSession(content, session, enable_fallback=0, **arguments)


@contextmanager
def stdout_kept_clean() -> Iterator[None]:
    """Redirect a vendor's library's stdout to stderr, since stdout is for results."""
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        if os.name == "posix":
            ctypes.CDLL(None).fflush(None)  # C's buffer would be written to the real stdout later
        os.dup2(kept, 1)
        os.close(kept)


def assignment(session: Any) -> Mapping[str, str] | None:
    """Return the provider that runs each node, by the name that the node has after optimisation.

    None where the installed ONNX Runtime cannot tell: 1.23, the one for Python 3.10, cannot.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    return {
        _RENAMED_BY_LAYOUT.sub("", node.name): group.ep_name
        for group in session.get_provider_graph_assignment_info()
        for node in group.get_nodes()
    }


def with_named_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with a name on every node (``%`` and its first output), so that the assignment can be read back.

    A model whose nodes all have names is returned itself; another one is copied.
    """
    if all(node.name for node in model.graph.node):
        return model
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for node in named.graph.node:
        node.name = node.name or "%" + next(filter(None, node.output), "")
    return named


def idle_providers() -> list[str]:
    """Return the providers built into the installed onnxruntime that no device uses yet."""
    import onnxruntime as ort

    return [name for name in ort.get_available_providers() if name not in ("CPUExecutionProvider", _SHIPS_IN_CPU_WHEEL)]
