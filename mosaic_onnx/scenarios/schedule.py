"""The schedule: what is decided for a scenario."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mosaic_onnx.planner.core.request import Proposal

Policy = Literal["priority", "fifo", "edf", "least-slack"]
"""The rule by which a free device chooses among ready slices.

``priority``: the model that stands first in the order; ``fifo``: the slice that was ready first; ``edf``: the frame
with the earliest deadline; ``least-slack``: the least time left after its remaining work. Ties: the older frame, then
the order.
"""


@dataclass(frozen=True)
class Schedule:
    """For each model its slices and their states, and which slice goes first.

    Attributes:
        proposals: [M] each model's slices in a topological order.
        priority: model indices, the most urgent first.
        policy: how a device picks among ready slices.
        late_binding: a slice's device is picked when its inputs are there, the one that would finish it first; the
            states in ``proposals`` are the fastest ones of each slice alone.
    """

    proposals: tuple[Proposal, ...]
    priority: tuple[int, ...]
    policy: Policy = "priority"
    late_binding: bool = False
