from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mosaic_onnx.runtime.buffers import ALIGNMENT_BYTES, FOREVER, SHARING_BYTES, Need, is_dead_before, lay_out
from mosaic_onnx.runtime.dependencies import wire
from tests.unit.runtime.helpers import diamond

BIG = 10 * SHARING_BYTES


def sequential(count: int) -> list[int]:
    return [(1 << index) - 1 for index in range(count)]


def test_a_chain_of_equal_tensors_takes_two_places() -> None:
    needs = [Need(f"t{i}", BIG, i, 1 << i | 1 << (i + 1)) for i in range(10)]
    layout = lay_out(needs, sequential(11))
    assert layout.bytes == 2 * BIG
    assert layout.unshared_bytes == 10 * BIG


def test_a_tensor_read_late_keeps_its_place() -> None:
    needs = [Need("long", BIG, 0, 0b10001), *(Need(f"t{i}", BIG, i, 0b11 << i) for i in range(1, 4))]
    layout = lay_out(needs, sequential(5))
    assert layout.bytes == 3 * BIG
    assert all(layout.offsets["long"] != layout.offsets[f"t{i}"] for i in range(1, 4))


def test_an_output_is_never_written_over() -> None:
    needs = [Need("y", BIG, 0, FOREVER), Need("z", BIG, 5, FOREVER)]
    assert lay_out(needs, sequential(6)).bytes == 2 * BIG


def test_side_by_side_branches_share_nothing_where_the_same_slices_in_a_row_do() -> None:
    slices = diamond("[4096]")
    devices = ["a", "b", "c", "a"]
    for concurrent, expected in ((True, False), (False, True)):
        wiring = wire(slices, ["x"], ["y"], devices, concurrent)
        assert bool(wiring.before[2] >> 1 & 1) is expected
    wiring = wire(slices, ["x"], ["y"], devices, True)
    needs = [Need("b", BIG, 1, 0b0010), Need("c", BIG, 2, 0b0100)]
    assert lay_out(needs, wiring.before).bytes == 2 * BIG
    assert lay_out(needs, sequential(4)).bytes == BIG


@st.composite
def programs(draw: st.DrawFn) -> tuple[list[Need], list[int]]:
    """Random slices on random devices, each reading some earlier tensors, and the certain order of the whole."""
    count = draw(st.integers(1, 12))
    device = [draw(st.integers(0, 2)) for _ in range(count)]
    reads = [draw(st.sets(st.integers(0, max(0, i - 1)), max_size=3)) if i else set() for i in range(count)]
    before: list[int] = []
    for i in range(count):
        direct = reads[i] | {max((j for j in range(i) if device[j] == device[i]), default=-1)} - {-1}
        mask = 0
        for j in direct:
            mask |= before[j] | 1 << j
        before.append(mask)
    needs = []
    for i in range(count):
        users = 1 << i
        for j in range(count):
            if i in reads[j]:
                users |= 1 << j
        size = draw(st.integers(0, 4)) * SHARING_BYTES + draw(st.integers(0, 200))
        needs.append(Need(f"t{i}", size, i, draw(st.sampled_from([users, users, FOREVER]))))
    return needs, before


@given(programs())
@settings(max_examples=200, deadline=None)
def test_tensors_that_share_bytes_are_never_alive_together(program: tuple[list[Need], list[int]]) -> None:
    needs, before = program
    layout = lay_out(needs, before)
    assert layout.bytes <= layout.unshared_bytes
    for one in needs:
        start, end = layout.offsets[one.name], layout.offsets[one.name] + one.bytes
        assert start % ALIGNMENT_BYTES == 0
        assert end <= layout.bytes
        for other in needs:
            if other is one or max(start, layout.offsets[other.name]) >= min(
                end, layout.offsets[other.name] + other.bytes
            ):
                continue
            assert is_dead_before(one.users, other.maker, before) or is_dead_before(other.users, one.maker, before)
