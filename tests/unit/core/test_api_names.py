"""The names of the Python API, each imported when it is first used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from mosaic_onnx import api


def _named_for_type_checkers() -> dict[str, str]:
    tree = ast.parse(Path(api.__file__).read_text(encoding="utf-8"))
    return {
        alias.name: str(node.module)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_every_name_comes_from_the_module_that_type_checkers_are_told() -> None:
    told = _named_for_type_checkers()
    assert set(told) == set(api.__all__)
    for name, module in told.items():
        assert getattr(api, name) is getattr(sys.modules[module], name)


def test_importing_the_api_loads_neither_solvers_nor_models() -> None:
    words = "import sys, mosaic_onnx.api; print(sorted({'numpy', 'onnx', 'scipy', 'pydantic'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_compiling_loads_no_solver_until_a_plan_needs_one() -> None:
    words = "import sys, mosaic_onnx.api.compiling; print(sorted({'scipy', 'ortools'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
