"""On a terminal of 100 columns no table breaks the name of a layer, tensor, device or state over two lines."""

from __future__ import annotations

import re
from io import StringIO

from rich.console import Console
from rich.table import Table

from mosaic_onnx.cli.terminal.columns import hanging, show_whole
from mosaic_onnx.cli.views.explanations import layer_tables, plan_tables
from mosaic_onnx.cli.views.plan_views import candidate_table, transfer_table
from mosaic_onnx.cli.views.tables import device_table, plan_table, profile_table, singles_table, table
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer, TransferCost
from mosaic_onnx.discovery.selection import Selection
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.candidates import single_device_plan
from mosaic_onnx.planning.profile_plan import plan_profile
from mosaic_onnx.report.gather import Subject, content_of

COLUMNS = 100
ANSI = re.compile(r"\x1b\[[0-9;]*m")
BLOCKS = ("features.denseblock1", "features.transition2")


def long_names() -> Profile:
    """Six layers with names as exporters give them, on two devices, one with levels, with a cut in the middle."""
    layers, tensors = [], {"image": 600_000}
    for at in range(6):
        name = f"{BLOCKS[at % 2]}.{at}.conv2d"
        read = "image" if at == 0 else f"{BLOCKS[(at - 1) % 2]}.{at - 1}.relu_out"
        made = f"{BLOCKS[at % 2]}.{at}.relu_out"
        fast, slow = (0.001, 0.02) if at < 3 else (0.02, 0.001)
        costs = {"big@1844MHz": Cost(fast * 2, 0.01), "big@2362MHz": Cost(fast, 0.02), "npu": Cost(slow, 0.01)}
        layers.append(ProfileLayer(name, (read,), (made,), costs, nodes=(name,), op_types=("Conv",)))
        tensors[made] = 400_000
    levels = (Level("1844MHz", 1.844e9), Level("2362MHz", 2.362e9))
    devices = (Device("big", "simulated", simulated=True, levels=levels), Device("npu", "simulated", simulated=True))
    copies = (TransferCost("host", "npu", seconds=1e-4), TransferCost("npu", "host", seconds=1e-4))
    return Profile("densenet.onnx", devices, tensors, ("image",), (list(tensors)[-1],), tuple(layers), copies)


def every_table() -> dict[str, Table]:
    profile = long_names()
    plan = plan_profile(profile, Request())
    content = content_of(Subject(profile, plan), time_limit_s=1.0)
    alone = {device.name: single_device_plan(profile, device.name, plan) for device in profile.devices}
    singles = {name: one for name, one in alone.items() if one is not None}
    tables = {
        "plan": plan_table(profile, plan),
        "singles": singles_table(plan, singles),
        "profile": profile_table(profile),
        "transfers": transfer_table(plan),
        "candidates": candidate_table(Subject(profile, plan), singles),
        "devices": device_table(Selection(profile.devices, profile.devices, (), (), {}, {})),
    }
    columns = ("slice", "device", "layers", "from … to", "predicted", "outputs", "weights")
    row = ("0", "npu (simulated)", "39", "L01/conv1 … L10/pool10/flatten", "9.804 ms", "1", "5 MB")
    tables["delivered"] = table("delivered: npu: 1 slice, 2 transfers (606 kB)", columns, [row])
    tables |= {f"explain {number}": one for number, one in enumerate(plan_tables(content.explanation))}
    return tables | {f"layer {number}": one for number, one in enumerate(layer_tables(content.layers[3]))}


def names_in(made: Table) -> set[str]:
    """The words of a table's cells that hold a dot, a slash or an at sign: names."""
    cells = [str(cell) for column in made.columns for cell in column.cells]
    words = {word.strip("()…,;") for cell in cells for word in cell.split()}
    return {word for word in words if any(sign in word for sign in "./@") and len(word) > 6}


def shown_at(made: Table, columns: int) -> str:
    screen = StringIO()
    Console(file=screen, width=columns, highlight=False).print(made)
    return screen.getvalue()


def test_no_table_breaks_a_name_at_100_columns() -> None:
    for name, made in every_table().items():
        shown = shown_at(made, COLUMNS)
        assert all(len(line) <= COLUMNS for line in shown.splitlines()), f"{name}\n{shown}"
        assert [word for word in names_in(made) if word not in shown] == [], f"{name}\n{shown}"


def printed_at(made: Table, columns: int, *, is_terminal: bool) -> str:
    screen = StringIO()
    show_whole(Console(file=screen, width=columns, highlight=False, force_terminal=is_terminal, no_color=True), made)
    return screen.getvalue()


def test_no_table_is_wider_than_a_terminal_of_80_columns() -> None:
    for name, made in every_table().items():
        lines = [ANSI.sub("", line) for line in printed_at(made, 80, is_terminal=True).splitlines()]
        assert max(map(len, lines)) <= 80, f"{name}\n" + "\n".join(lines)


def test_a_narrow_terminal_shortens_names_in_their_middle_and_a_file_has_them_whole() -> None:
    made = every_table()["plan"]
    assert "features.denseblock1.0.conv2d" not in printed_at(made, 60, is_terminal=True)
    assert "…" in printed_at(made, 60, is_terminal=True)
    assert "features.denseblock1.0.conv2d" in printed_at(made, 60, is_terminal=False)


def test_a_long_finding_hangs_below_its_beginning_and_keeps_its_words() -> None:
    assert hanging("- npu  ", "emulated; name one with -d npu:NAME", 24) == (
        "- npu  emulated; name\n       one with -d\n       npu:NAME"
    )
    assert hanging("- npu  ", "emulated; name one", None) == "- npu  emulated; name one"


def test_the_check_sees_a_broken_name() -> None:
    made = every_table()["plan"]
    assert [word for word in names_in(made) if word not in shown_at(made, 40)] != []
