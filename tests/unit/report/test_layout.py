"""The drawing of the graph: layers below what they read, slices apart."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.planner.core.request import PlacedSlice
from mosaic_onnx.report.layout import edges_of, lay_out


def profile_of(reads: list[set[int]]) -> Profile:
    """A graph whose layer reads the layers in ``reads``."""
    layers = tuple(
        ProfileLayer(f"l{at}", tuple(f"t{maker}" for maker in sorted(makers)) or ("x",), (f"t{at}",), {"d": Cost(1.0)})
        for at, makers in enumerate(reads)
    )
    tensors = {"x": 1, **{f"t{at}": 1 for at in range(len(reads))}}
    return Profile("graph", (Device("d"),), tensors, ("x",), (f"t{len(reads) - 1}",), layers)


@st.composite
def graphs_with_cuts(draw: st.DrawFn) -> tuple[Profile, tuple[PlacedSlice, ...]]:
    count = draw(st.integers(1, 12))
    reads = [draw(st.sets(st.integers(0, at - 1), max_size=3)) if at else set() for at in range(count)]
    cuts = sorted(draw(st.sets(st.integers(1, count - 1)))) if count > 1 else []
    bounds = [0, *cuts, count]
    return profile_of(reads), tuple(PlacedSlice(tuple(range(a, b)), 0) for a, b in pairwise(bounds))


@settings(max_examples=40)
@given(graphs_with_cuts())
def test_every_layer_stands_below_what_it_reads_and_in_its_slices_rows(
    case: tuple[Profile, tuple[PlacedSlice, ...]],
) -> None:
    profile, proposal = case
    drawn = lay_out(profile, proposal)
    assert all(drawn.row[maker] < drawn.row[reader] for maker, reader in edges_of(profile))
    for placed, band in zip(proposal, drawn.bands, strict=True):
        assert all(band.top < drawn.row[layer] < band.bottom for layer in placed.layers)
    assert all(above.bottom < below.top for above, below in pairwise(drawn.bands))


@settings(max_examples=40)
@given(graphs_with_cuts())
def test_no_two_layers_overlap_and_all_are_within_the_width(case: tuple[Profile, tuple[PlacedSlice, ...]]) -> None:
    drawn = lay_out(*case)
    rows: dict[float, list[float]] = {}
    for column, row in zip(drawn.column, drawn.row, strict=True):
        rows.setdefault(row, []).append(column)
        assert abs(column) <= drawn.width / 2
    assert all(b - a >= 1 - 1e-9 for columns in rows.values() for a, b in pairwise(sorted(columns)))
