"""The agreement of plans with the paper's Tables III and IV, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.reproduce.paper import LETTERS, Step, spread
from mosaic_onnx.zoo import WORKLOADS

LETTER_OF = {device: letter for letter, device in LETTERS.items()}


@dataclass(frozen=True)
class Agreement:
    """The layers of one workload that are on the device (and at the level) of the paper's table."""

    workload: str
    same_device: int
    same_state: int
    layers: int


def compare(workload: str, plan: Plan, printed: tuple[Step, ...]) -> Agreement:
    """Return the agreement of a plan with a printed one; a device without levels always agrees in level."""
    layer_count = WORKLOADS[workload].layer_count
    wanted = spread(printed, layer_count)
    states = [""] * layer_count
    for piece in plan.slices:
        for layer in piece.layers:
            states[layer] = piece.state
    same_device = [device_of(state) == step.device for state, step in zip(states, wanted, strict=True)]
    same_level = [
        "@" not in state or not step.level or state.partition("@")[2] == step.level
        for state, step in zip(states, wanted, strict=True)
    ]
    both = [device and level for device, level in zip(same_device, same_level, strict=True)]
    return Agreement(workload, sum(same_device), sum(both), layer_count)


def share(agreements: Iterable[Agreement], without: str = "") -> float:
    """Return the percentage of layers on the printed device, optionally without one workload."""
    kept = [each for each in agreements if each.workload != without]
    return 100.0 * sum(each.same_device for each in kept) / max(1, sum(each.layers for each in kept))


def state_share(agreements: Iterable[Agreement]) -> float:
    """Return the percentage of layers on the printed device at the printed level."""
    kept = list(agreements)
    return 100.0 * sum(each.same_state for each in kept) / max(1, sum(each.layers for each in kept))


def written(plan: Plan, levels: bool = False) -> str:
    """Return a plan as the tables print it: N1 G8 N18, with levels L5^509MHz."""
    words = []
    for piece in plan.slices:
        device, _, level = piece.state.partition("@")
        words.append(f"{LETTER_OF[device]}{piece.layers[0] + 1}" + (f"^{level}" if levels and level else ""))
    return " ".join(words)


def printed_words(steps: tuple[Step, ...], levels: bool = False) -> str:
    """Return a printed plan in the same notation."""
    return " ".join(
        f"{LETTER_OF[step.device]}{step.first}" + (f"^{step.level}" if levels and step.level else "") for step in steps
    )


def by_name(printed: Mapping[str, tuple[Step, ...]]) -> dict[str, tuple[Step, ...]]:
    """Return a table by workload name instead of the paper's short code."""
    return {name: printed[row.code] for name, row in WORKLOADS.items() if row.code in printed}
