"""The front: the points of a sweep that no other point equals or betters in everything."""

from __future__ import annotations

from collections.abc import Sequence

from mosaic_onnx.npu.explore.evaluate import Point


def pareto_front(points: Sequence[Point]) -> tuple[int, ...]:
    """Return the places of the points that none beats in seconds, joules and area, in the order given.

    Of points that are equal in all three the first is kept. Where areas are not known they are all equal.
    """
    figures = [(point.seconds, point.joules, point.area_mm2 or 0.0) for point in points]
    return tuple(
        place
        for place, point in enumerate(points)
        if point.outcomes
        and not any(
            _beats(figures[other], figures[place]) or (other < place and figures[other] == figures[place])
            for other in range(len(points))
            if other != place and points[other].outcomes
        )
    )


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))
