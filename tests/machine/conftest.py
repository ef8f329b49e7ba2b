"""A recorded machine in the place of this one, and the command line as a function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import onnx.parser
import pytest

from mosaic_onnx.backends.hardware.system import ROOT_VARIABLE
from tests.cli.conftest import mosaic
from tests.machine.recorded_machines import MACHINES
from tests.machine.recorded_runtimes import NAME_VARIABLE, install

__all__ = ["mosaic"]

MODEL = """<ir_version: 9, opset_import: ["" : 17]>
    chain (float[1,4,8,8] x, float[4,4,1,1] w) => (float[1,4,8,8] y)
    { a = Conv (x, w) b = Sin (a) c = Softmax (b) y = Tanh (c) }"""

Become = Callable[[str], Path]


@pytest.fixture
def become(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Become:
    """Make a recorded machine this process's machine; the folder of its files comes back."""

    def made(name: str) -> Path:
        root = tmp_path / name
        MACHINES[name](root)
        obeying_clocks(root)
        monkeypatch.setenv(ROOT_VARIABLE, str(root))
        monkeypatch.setenv(NAME_VARIABLE, name)
        install(monkeypatch.setattr)
        return root

    return made


def obeying_clocks(root: Path) -> None:
    """The recorded clocks run at their upper limit at once."""
    for current, limit in (("scaling_cur_freq", "scaling_max_freq"), ("cur_freq", "max_freq")):
        for path in root.rglob(current):
            path.unlink()
            path.symlink_to(path.parent / limit)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A chain of four layers."""
    onnx.save(onnx.parser.parse_model(MODEL), tmp_path / "chain.onnx")
    return tmp_path / "chain.onnx"
