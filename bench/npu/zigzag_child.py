"""Runs ZigZag in its own environment: layers in, energy, cycles and seconds out (JSON on stdin and stdout).

It imports nothing of this project: the environment that has ``zigzag-dse`` and ``six`` need not have it.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LINKS = {"O": "O", "W": "I2", "I": "I1"}


def layer_entry(layer: dict[str, Any]) -> dict[str, Any]:
    """A convolution in ZigZag's workload form."""
    entry = {
        "id": 0,
        "name": "layer",
        "operator_type": "Conv",
        "equation": "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
        "dimension_relations": [f"ix={layer['stride']}*ox+1*fx", f"iy={layer['stride']}*oy+1*fy"],
        "loop_dims": ["B", "K", "G", "C", "OY", "OX", "FY", "FX"],
        "loop_sizes": [1, layer["K"], layer["G"], layer["C"], layer["P"], layer["Q"], layer["R"], layer["S"]],
        "operand_precision": {"W": 8, "I": 8, "O": 16, "O_final": 8},
        "operand_source": {"W": 0, "I": 0},
        "padding": [[0, 0], [0, 0]],
        "pr_loop_dims": ["IX", "IY"],
        "pr_loop_sizes": [
            (layer["Q"] - 1) * layer["stride"] + layer["S"],
            (layer["P"] - 1) * layer["stride"] + layer["R"],
        ],
    }
    return entry


def run(layer: dict[str, Any], hardware: str, objective: str, ordering: list[list[Any]] | None) -> dict[str, float]:
    """Search a layer, or evaluate one given order of its loops (innermost first)."""
    import yaml
    from zigzag.api import get_hardware_performance_zigzag

    mapping: dict[str, Any] = {
        "name": "default",
        "spatial_mapping": layer["spatial"],
        "memory_operand_links": LINKS,
    }
    if ordering is not None:
        mapping["temporal_ordering"] = ordering
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("work.yaml", [layer_entry(layer)]), ("map.yaml", [mapping])):
            Path(folder, name).write_text(yaml.safe_dump(content))
        start = time.perf_counter()
        used = time.process_time()
        energy, latency, _ = get_hardware_performance_zigzag(
            workload=f"{folder}/work.yaml",
            accelerator=hardware,
            mapping=f"{folder}/map.yaml",
            opt=objective,
            dump_folder=f"{folder}/out",
            pickle_filename=f"{folder}/out.pickle",
            loma_show_progress_bar=False,
        )
        spent = time.perf_counter() - start, time.process_time() - used
    return {"joules": energy * 1e-12, "cycles": latency, "seconds": spent[0], "processor_seconds": spent[1]}


def main() -> None:
    """Answer each request of the list on stdin."""
    import zigzag

    logging.disable(logging.CRITICAL)
    requests = json.load(sys.stdin)
    hardware = str(Path(zigzag.__file__).parent / "inputs" / "hardware" / "tpu_like.yaml")
    answers = []
    for request in requests:
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                answers.append(run(request["layer"], hardware, request["objective"], request.get("ordering")))
        except Exception as error:
            answers.append({"error": f"{type(error).__name__}: {error}"})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
