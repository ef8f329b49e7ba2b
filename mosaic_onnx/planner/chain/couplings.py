"""Couplings of slices of a chain that are far apart, as one number for each label: the code.

Switching a device's level costs something that depends on the level of its last slice, and the layers of a group share
a device. So a label carries the level of each switching device, and the device of each group that has begun and not
ended, as the digits of its code. Labels are compared where their codes are the same; and where they differ, after the
most that the difference can cost has been added.
"""

from __future__ import annotations

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Bools, CostTable, Floats, Ints


class Couplings:
    """The digits of a code: 0 for "not yet", else 1 + the place of a level among its device's, or 1 + a device."""

    def __init__(self, table: CostTable) -> None:
        """Collect the switching devices and the groups."""
        self.device = table.rows.state_device
        self.switch = np.stack([table.switch_s, table.switch_j], axis=-1) + 0.0
        idle = float(table.idle_w.sum())
        self.switch[:, :, 1] += idle * table.switch_s
        switching = sorted({self.device[state] for state in np.argwhere(self.switch.any(axis=-1))[:, 0].tolist()})
        self.levels = {device: np.flatnonzero(table.state_device == device) for device in switching}
        self.group = table.rows.group
        self.last_of_group = {group: layer for layer, group in enumerate(self.group) if group >= 0}
        digits = [(("device", d), len(levels) + 1) for d, levels in self.levels.items()]
        digits += [(("group", group), len(table.device_names) + 1) for group in sorted(self.last_of_group)]
        self.unit: dict[tuple[str, int], tuple[int, int]] = {}
        """what a digit stands for -> (its worth in the code, its base)"""
        worth = 1
        for name, base in digits:
            self.unit[name] = worth, base
            worth *= base
        self.dearest = self._dearest()

    def enter(self, codes: Ints, state: int) -> tuple[Floats, Ints]:
        """Return [N, 2] what switching to a state costs (seconds, joules with idle power), and the codes afterwards."""
        device = self.device[state]
        if device not in self.levels:
            return np.zeros((len(codes), 2)), codes
        worth, base = self.unit["device", device]
        digit = codes // worth % base
        levels = self.levels[device]
        costs = np.concatenate([np.zeros((1, 2)), self.switch[levels, state]])[digit]
        mine = 1 + int(np.searchsorted(levels, state))
        return costs, codes + (mine - digit) * worth

    def run(self, codes: Ints, first: int, last: int, state: int) -> tuple[Bools, Ints]:
        """Return [N] whether no group is parted by running layers ``first`` … ``last``, and the codes afterwards."""
        kept = np.ones(len(codes), dtype=np.bool_)
        mine = 1 + self.device[state]
        for layer in range(first, last + 1):
            group = self.group[layer]
            if group >= 0:
                worth, base = self.unit["group", group]
                digit = codes // worth % base
                kept &= (digit == 0) | (digit == mine)
                after = 0 if self.last_of_group[group] == layer else mine
                codes = codes + (after - digit) * worth
        return kept, codes

    def dominated(self, points: Floats, codes: Ints) -> Bools:
        """Return [N] labels that another one with an equal or another code makes needless.

        Labels of other codes count after the dearest switches have been added, and only where no group is open.

        Args:
            points: [N, 2] seconds and joules, by code and then by rising seconds, each code's front.
            codes: [N]
        """
        if not self.levels or not len(points):
            return np.zeros(len(points), dtype=np.bool_)
        free = codes < self._levels_worth() if self.last_of_group else np.ones(len(codes), dtype=np.bool_)
        shifted = points[free] + self.dearest
        order = np.lexsort((shifted[:, 1], shifted[:, 0]))
        least = np.minimum.accumulate(shifted[order, 1])
        place = np.searchsorted(shifted[order, 0], points[:, 0], side="right") - 1
        beaten = (place >= 0) & (least[np.maximum(place, 0)] <= points[:, 1]) if len(least) else place < -1
        return np.asarray(beaten & free)

    def _levels_worth(self) -> int:
        """Return the worth of the first digit of a group: codes below it have no group open."""
        return min(worth for (kind, _), (worth, _) in self.unit.items() if kind == "group")

    def _dearest(self) -> Floats:
        """Return [2] the most that one more switch on every device can cost over what another label pays."""
        total = np.zeros(2)
        for levels in self.levels.values():
            block = self.switch[np.ix_(levels, levels)]
            spread = block.max(axis=0) - np.minimum(block.min(axis=0), 0.0)
            total += spread.max(axis=0)
        return total


def front_by_code(points: Floats, codes: Ints) -> Ints:
    """Return indices of the points [N, 2] that none of the same code beats, by code and rising first cost."""
    order = np.lexsort((points[:, 1], points[:, 0], codes))
    rank = np.unique(points[order, 1], return_inverse=True)[1]
    group = np.cumsum(np.diff(codes[order], prepend=codes[order[:1]]) != 0)
    falling = rank - group * (len(points) + 1)  # each code begins below all of the one before
    kept = np.ones(len(order), dtype=np.bool_)
    kept[1:] = falling[1:] < np.minimum.accumulate(falling)[:-1]
    return np.asarray(order[kept])
