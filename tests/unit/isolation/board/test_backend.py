"""Slices of another machine's device are loaded, run and closed there; ssh is a stand-in that runs its command here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, UsageError
from mosaic_onnx.isolation.board.backend import BoardBackend, Boards
from mosaic_onnx.isolation.board.blobs import arrays_from_json, arrays_to_json
from mosaic_onnx.runtime.guards import GuardedBackend, Guards
from tests.machine.ssh import ssh_stand_in
from tests.unit.backends.helpers import unary

__all__ = ["ssh_stand_in"]

BOARD = Device("board", backend="onnxruntime", options={"threads": 1}, host=f"ssh://board{sys.executable}")
X = np.array([[-1.0, 2.0, -3.0], [4.0, -5.0, 6.0]], np.float32)


@pytest.fixture
def board(ssh_stand_in: Path) -> Iterator[BoardBackend]:
    with closing(BoardBackend(BACKEND, BOARD)) as backend:
        yield backend


def test_a_slice_runs_there_by_value_and_in_place_until_it_is_closed(board: BoardBackend) -> None:
    runner = board.load(unary("Neg"), BOARD)
    assert np.array_equal(runner.run({"x": X})["y"], -X)
    made = np.zeros_like(X)
    call = runner.bind({"x": X}, {"y": made})
    call()
    assert np.array_equal(made, -X)
    assert set((runner.assignment() or {}).values()) <= {"CPUExecutionProvider"}
    runner.close()
    runner.close()
    with pytest.raises(BackendError, match="its slice was closed"):
        runner.run({"x": X})


def test_claims_come_back(board: BoardBackend) -> None:
    assert board.claims([helper.make_node("Neg", ["x"], ["y"])]) == [None]


def test_a_failure_names_device_and_machine(ssh_stand_in: Path) -> None:
    absent = replace(BOARD, options={"provider": "CUDAExecutionProvider"})
    with (
        closing(BoardBackend(BACKEND, absent)) as backend,
        pytest.raises(BackendError, match="device board on board: "),
    ):
        backend.load(unary("Neg"), absent)


def test_a_wrong_option_is_the_users_mistake(ssh_stand_in: Path) -> None:
    wrong = Device("board", backend="onnxruntime", options={"tireds": 1}, host=BOARD.host)
    with closing(BoardBackend(BACKEND, wrong)) as backend, pytest.raises(UsageError, match="option 'tireds'"):
        backend.load(unary("Neg"), wrong)


def test_only_devices_of_other_machines_go_there_and_guards_go_with_them() -> None:
    boards = Boards()
    assert boards.backend(BACKEND, Device("cpu", backend="onnxruntime")) is BACKEND
    guarded = boards.backend(GuardedBackend(BACKEND, Guards(validate=True)), BOARD)
    assert isinstance(guarded, GuardedBackend)
    assert isinstance(guarded.inner, BoardBackend)
    boards.close()


def test_arrays_travel_as_they_are() -> None:
    arrays = {
        "empty": np.zeros((0, 3), np.int8),
        "scalar": np.array(1.5, np.float64),
        "words": np.array([["a", "é"]], object),
        "transposed": np.arange(6, dtype=np.int64).reshape(2, 3).T,
    }
    back = arrays_from_json(arrays_to_json(arrays))
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert np.array_equal(back[name], array)
