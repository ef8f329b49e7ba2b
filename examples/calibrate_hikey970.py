"""Calibrate the shipped HiKey 970 description: ``python examples/calibrate_hikey970.py``.

Fits ``mosaic_onnx/data/hikey970.toml`` (seed 0) and ``mosaic_onnx/reproduce/hikey970_seeds.json`` (seeds 0 to 7, whose
spread the report shows) to the published numbers of ``mosaic_onnx/reproduce/paper.py``. It is
deterministic and takes half a minute. ``--check`` compares the files with a new calibration and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
from importlib.resources import files
from pathlib import Path

from mosaic_onnx.reproduce.calibrate import calibrate
from mosaic_onnx.reproduce.calibration_files import SEEDS_FILE, description_text, seeds_text

SEED_COUNT = 8


def main() -> int:
    """Fit the description, then write or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    options = parser.parse_args()
    fits = [calibrate(seed) for seed in range(SEED_COUNT)]
    texts = {
        Path(str(files("mosaic_onnx.data"))) / "hikey970.toml": description_text(fits[0]),
        Path(str(files("mosaic_onnx.reproduce"))) / SEEDS_FILE: seeds_text(fits),
    }
    stale = [path for path, text in texts.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if options.check:
        print(
            "\n".join(f"{path.name} is not what the calibration gives" for path in stale) or "the files are up to date"
        )
        return 1 if stale else 0
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
