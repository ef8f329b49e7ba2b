"""The differences between two plans of the same layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.plans import Plan, Transfer
from mosaic_onnx.core.profiles import Profile


@dataclass(frozen=True)
class MovedLayer:
    """A layer that two plans run in different states."""

    index: int
    name: str
    before: str
    after: str


@dataclass(frozen=True)
class PlanDiff:
    """The differences of the second plan from the first.

    Attributes:
        seconds: change of the predicted seconds; negative is faster.
        joules: change of the joules; None where either plan has none.
        interval_seconds: change of the largest device load.
        slices: number of slices before and after.
        moved: layers in another state.
        kept_count: layers in the same state.
        transfers_gone: transfers only of the first plan.
        transfers_new: transfers only of the second.
        bytes: change of the bytes moved.
        settings: objective, schedule and method where they differ, before and after.
        is_elsewhere: the plans have no device in common, so that every layer moved and a list of them says nothing.
    """

    seconds: float
    joules: float | None
    interval_seconds: float
    slices: tuple[int, int]
    moved: tuple[MovedLayer, ...]
    kept_count: int
    transfers_gone: tuple[Transfer, ...]
    transfers_new: tuple[Transfer, ...]
    bytes: int
    settings: Mapping[str, tuple[str, str]]
    is_elsewhere: bool = False


def diff_plans(before: Plan, after: Plan, profile: Profile | None = None) -> PlanDiff:
    """Return the differences of the second plan from the first.

    Args:
        before: the first plan.
        after: the second plan, of the same layers.
        profile: for the names of the layers; without it they are ``layer 7``.

    Raises:
        ModelError: the plans are not of the same number of layers.
    """
    old, new = _states_of(before), _states_of(after)
    if old.keys() != new.keys():
        raise ModelError(
            f"the plans have {len(old)} and {len(new)} layers: they are not of the same profile",
            "Compare plans of one profile.",
        )
    names = {index: profile.layers[index].name if profile else f"layer {index}" for index in old}
    gone, come = _transfer_keys(before.transfers), _transfer_keys(after.transfers)
    joules = None
    if before.predicted.joules is not None and after.predicted.joules is not None:
        joules = after.predicted.joules - before.predicted.joules
    settings = {
        word: (str(getattr(before, word)), str(getattr(after, word)))
        for word in ("objective", "schedule", "method")
        if getattr(before, word) != getattr(after, word)
    }
    return PlanDiff(
        seconds=after.predicted.seconds - before.predicted.seconds,
        joules=joules,
        interval_seconds=after.predicted.interval_seconds - before.predicted.interval_seconds,
        slices=(len(before.slices), len(after.slices)),
        moved=tuple(MovedLayer(i, names[i], old[i], new[i]) for i in sorted(old) if old[i] != new[i]),
        kept_count=sum(old[i] == new[i] for i in old),
        transfers_gone=tuple(transfer for key, transfer in gone.items() if key not in come),
        transfers_new=tuple(transfer for key, transfer in come.items() if key not in gone),
        bytes=sum(t.bytes for t in after.transfers) - sum(t.bytes for t in before.transfers),
        settings=settings,
        is_elsewhere={device_of(state) for state in old.values()}.isdisjoint(device_of(s) for s in new.values()),
    )


def _states_of(plan: Plan) -> dict[int, str]:
    return {layer: item.state for item in plan.slices for layer in item.layers}


def _transfer_keys(transfers: Iterable[Transfer]) -> dict[tuple[str, str, str], Transfer]:
    return {(transfer.tensor, transfer.source, transfer.destination): transfer for transfer in transfers}
