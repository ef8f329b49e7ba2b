"""Groups stay convex whatever is merged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mosaic_onnx.layering.groups import Groups


@st.composite
def graphs(draw: st.DrawFn) -> list[set[int]]:
    """Sources of each item of a random acyclic graph."""
    count = draw(st.integers(1, 14))
    return [set(draw(st.lists(st.integers(0, item - 1), max_size=3))) if item else set() for item in range(count)]


def is_convex(sources: list[set[int]], group: set[int]) -> bool:
    """No path leaves the group and comes back: by brute force over all items."""
    outside_after: set[int] = set()
    for item in range(len(sources)):
        if item in group:
            if sources[item] & outside_after:
                return False
        elif sources[item] & (outside_after | group):
            outside_after.add(item)
    return True


def check(groups: Groups, sources: list[set[int]]) -> None:
    ordered = groups.in_order()
    assert sorted(item for members in ordered for item in members) == list(range(len(sources)))
    place = {item: at for at, members in enumerate(ordered) for item in members}
    for members in ordered:
        assert is_convex(sources, set(members))
    for item, before in enumerate(sources):
        assert all(place[source] <= place[item] for source in before)


@given(graphs(), st.lists(st.tuples(st.integers(0, 13), st.integers(0, 13)), max_size=30))
def test_safe_merges_keep_every_group_convex(sources: list[set[int]], wanted: list[tuple[int, int]]) -> None:
    groups = Groups(sources)
    for first, second in wanted:
        if first < len(sources) and second < len(sources):
            groups.merge_if_safe(first, second)
            check(groups, sources)


@given(graphs(), st.lists(st.lists(st.integers(0, 13), min_size=1, max_size=4), max_size=3))
def test_forced_merges_take_along_what_lies_between(sources: list[set[int]], wanted: list[list[int]]) -> None:
    groups = Groups(sources)
    sets = [[item % len(sources) for item in items] for items in wanted]
    groups.merge_with_paths(sets)
    check(groups, sources)
    for items in sets:
        assert len({groups.find(item) for item in items}) == 1
    if len(sources) > 1:
        groups.merge_if_safe(0, 1)
        check(groups, sources)


def test_a_pair_with_a_detour_is_not_merged() -> None:
    groups = Groups([set(), {0}, {0, 1}])
    assert not groups.merge_if_safe(0, 2)
    assert groups.merge_if_safe(0, 1)
    assert groups.merge_if_safe(0, 2)


def test_the_first_of_several_readers_may_join() -> None:
    groups = Groups([set(), {0}, {0}])
    assert groups.only_reader(0) is None
    assert groups.first_reader(0) == 1
    assert groups.merge_if_safe(0, 1)
    assert groups.in_order() == [[0, 1], [2]]


def test_a_forced_pair_with_a_detour_takes_the_detour_along() -> None:
    groups = Groups([set(), {0}, {1}, {0, 2}, {3}])
    groups.merge_with_paths([[0, 3]])
    assert groups.in_order() == [[0, 1, 2, 3], [4]]
