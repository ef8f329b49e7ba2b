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


def made_this_machine(name: str, root: Path, patch: pytest.MonkeyPatch) -> None:
    """Make a recorded machine this process's machine.

    Args:
        name: of the machine.
        root: where its files are written.
        patch: undoes it.
    """
    MACHINES[name](root)
    obeying_clocks(root)
    patch.setenv(ROOT_VARIABLE, str(root))
    patch.setenv(NAME_VARIABLE, name)
    install(patch.setattr)


@pytest.fixture
def become(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Become:
    """Make a recorded machine this process's machine; the folder of its files comes back."""

    def made(name: str) -> Path:
        made_this_machine(name, tmp_path / name, monkeypatch)
        return tmp_path / name

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
    return saved_model(tmp_path)


def saved_model(folder: Path) -> Path:
    onnx.save(onnx.parser.parse_model(MODEL), folder / "chain.onnx")
    return folder / "chain.onnx"
