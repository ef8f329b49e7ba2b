"""Importers of profiles that other tools wrote.

There is one module per format, each with one function; ``IMPORT_FORMATS`` lists them for the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.files.profile_checks import check_profile
from mosaic_onnx.importers.decoder.profile import import_decoder
from mosaic_onnx.importers.dnn_partitioning import import_dnn_partitioning
from mosaic_onnx.importers.hope import import_hope
from mosaic_onnx.importers.onnxruntime_profile import import_onnxruntime
from mosaic_onnx.importers.pipedream import import_pipedream
from mosaic_onnx.importers.pipeedge import import_pipeedge
from mosaic_onnx.importers.piper import import_piper
from mosaic_onnx.importers.tensorrt import import_tensorrt

__all__ = [
    "KINDS",
    "Kind",
    "import_decoder",
    "import_dnn_partitioning",
    "import_hope",
    "import_onnxruntime",
    "import_pipedream",
    "import_pipeedge",
    "import_piper",
    "import_profile",
    "import_tensorrt",
]


@dataclass(frozen=True)
class ImportFormat:
    """One format that can be imported.

    Attributes:
        function: reads a file, given its path and the options as keyword arguments.
        help: one line for the user.
        options: {name of a keyword argument: its meaning}.
    """

    function: Callable[..., Profile]
    help: str
    options: Mapping[str, str]


IMPORT_FORMATS: Mapping[str, ImportFormat] = {
    "dnn-partitioning": ImportFormat(
        import_dnn_partitioning,
        "workload JSON of msr-fiddle/dnn-partitioning: accelerators acc0 … and cpu",
        {"device_count": "accelerators, in place of the file's own number"},
    ),
    "decoder": ImportFormat(
        import_decoder,
        "a described decoder (TOML, or a shipped name: llama-3.1-8b, …) on a described machine: prefill and decode",
        {
            "machine": "its file, or a shipped name (desktop-8gb)",
            "prompt_count": "tokens of the prompt, read at once (512)",
            "token_count": "tokens made after it, one by one (128)",
        },
    ),
    "pipedream": ImportFormat(
        import_pipedream,
        "PipeDream's graph.txt: equal devices gpu0 …",
        {
            "device_count": "how many devices there are (1)",
            "bandwidth_bytes_per_s": "between the devices; needed where there are several",
            "backward": "count the backward pass too",
        },
    ),
    "piper": ImportFormat(
        import_piper,
        "Piper's workload JSON: equal devices gpu0 …, forward and backward of a sample",
        {
            "device_count": "devices, in place of the file's own number",
            "way": "how each node runs (vanilla, activation recomp)",
            "time_unit_s": "seconds of one unit of timePerSample (1)",
            "in_flight": "samples whose activations are in memory at once (1)",
        },
    ),
    "pipeedge": ImportFormat(
        import_pipeedge,
        "PipeEdge's models.yml with device_types.yml and devices.yml: hosts joined by links",
        {
            "model": "which of the file's models",
            "device_types": "that file (device_types.yml beside the first)",
            "devices": "that file (devices.yml beside the first)",
            "batch_size": "of the measurements (8)",
            "dtype": "of the measurements (torch.float32)",
        },
    ),
    "hope": ImportFormat(
        import_hope,
        "HOPE's phone tables: …-layerwise-latency.csv, with the graph and transfers",
        {
            "info": "the file …-info.txt, which holds the graph",
            "transfers": "the file …-data-trans.csv",
            "threads": "of the big cores: 1, 2 or 4 (4)",
            "little_threads": "take the little cores as a device, with 1, 2 or 4 threads",
            "missing_transfer_us": "for shapes without a transfer time (HOPE takes 1300)",
        },
    ),
    "tensorrt": ImportFormat(
        import_tensorrt,
        "trtexec --exportProfile JSON: one device",
        {
            "layer_info": "the --exportLayerInfo file of the same engine, which holds the graph",
            "device": "name of the device (tensorrt)",
        },
    ),
    "onnxruntime": ImportFormat(
        import_onnxruntime,
        "ONNX Runtime profiler JSON: one device for every execution provider",
        {"also": "files of further runs of the same model, on other providers"},
    ),
}
"""{kind: its format}."""


NUMBERS: Mapping[str, tuple[type, ...]] = {
    "device_count": (int,),
    "prompt_count": (int,),
    "token_count": (int,),
    "in_flight": (int,),
    "batch_size": (int,),
    "threads": (int,),
    "little_threads": (int,),
    "time_unit_s": (int, float),
    "missing_transfer_us": (int, float),
    "bandwidth_bytes_per_s": (int, float),
}
"""Options that are numbers."""


def import_profile(kind: str, path: Path | str, **options: Any) -> Profile:
    """Return the profile of a file that another tool wrote.

    Args:
        kind: a key of ``IMPORT_FORMATS``.
        path: the file.
        options: keyword arguments of the kind's function.

    Raises:
        UsageError: an unknown kind, or an option that the kind does not have.
        ModelError: the file is not of that kind; the message names the place in it.
    """
    if kind not in IMPORT_FORMATS:
        raise UsageError(f"unknown kind of profile '{kind}'", f"Known kinds: {', '.join(IMPORT_FORMATS)}.")
    for option in options:
        if option not in IMPORT_FORMATS[kind].options:
            known = ", ".join(IMPORT_FORMATS[kind].options) or "none"
            raise UsageError(f"'{option}' is not an option of {kind}", f"Its options: {known}.")
    for option in options.keys() & NUMBERS.keys():
        kinds = NUMBERS[option]
        if isinstance(options[option], bool) or not isinstance(options[option], kinds):
            raise UsageError(f"{option} must be a number, is {options[option]!r}", IMPORT_FORMATS[kind].options[option])
    return check_profile(IMPORT_FORMATS[kind].function(Path(path), **options), str(path))
