"""The costs of transfers: the profile's copies and links as arrays over tensors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Floats, Ints
from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.profiles import HOST, Link, Profile, TransferCost

INF = float("inf")


class TransferCosts:
    """The profile's transfer costs as arrays over tensors."""

    def __init__(self, profile: Profile, tensor_bytes: Ints, tensor_index: Mapping[str, int]) -> None:
        self.profile = profile
        self.tensor_bytes = tensor_bytes
        self.tensor_index = tensor_index
        self.copies = {(copy.source, copy.destination): copy for copy in profile.copies}
        self.machine = {device.name: device.machine or HOST for device in profile.devices} | {HOST: HOST}
        self.links = {frozenset(link.between): link for link in profile.links}
        self.named = {device_of(place) for pair in self.copies for place in pair}
        self.named |= {device.name for device in profile.devices if device.machine}
        self._costs: dict[tuple[type, str, str, bool], Floats] = {}

    def find(self, source: str, destination: str) -> TransferCost | None:
        """Return the entry between two states (or host); entries for states win over entries for devices."""
        pairs = (
            (source, destination),
            (device_of(source), destination),
            (source, device_of(destination)),
            (device_of(source), device_of(destination)),
        )
        return next((self.copies[pair] for pair in pairs if pair in self.copies), None)

    def cost(self, copy: TransferCost | Link, *, joules: bool) -> Floats:
        """Return [T] the cost of every tensor by the entry's line, or by the tensor's own figures where it has them."""
        ends = copy.between if isinstance(copy, Link) else (copy.source, copy.destination)
        key = type(copy), *ends, joules
        if key not in self._costs:
            slope, start = (copy.joules_per_byte, copy.joules) if joules else (copy.seconds_per_byte, copy.seconds)
            costs: Floats = np.asarray(slope * self.tensor_bytes + start, dtype=np.float64)
            for name, tensor in copy.tensors.items():
                value = tensor.joules if joules else tensor.seconds
                if value is not None:
                    costs[self.tensor_index[name]] = value
            self._costs[key] = costs
        return self._costs[key]

    def by_state(self, *, to_host: bool, joules: bool) -> Floats:
        """Return [T, S] the cost of moving every tensor between host and every state; 0 where memory is shared.

        A device of another machine pays for the way within its machine and for the link to host.
        """
        states = self.profile.states
        costs = np.zeros((len(self.tensor_bytes), len(states)))
        for s, state in enumerate(states):
            costs[:, s] = self.within(state, to_host=to_host, joules=joules)
            costs[:, s] += self.over_link(state, HOST, joules=joules)
        return costs

    def within(self, state: str, *, to_host: bool, joules: bool) -> Floats:
        """Return [T] the cost of the way between a state and the memory of its machine."""
        copy = self.find(state, HOST) if to_host else self.find(HOST, state)
        return np.zeros(len(self.tensor_bytes)) if copy is None else self.cost(copy, joules=joules)

    def over_link(self, source: str, destination: str, *, joules: bool) -> Floats:
        """Return [T] the cost of the link between the machines of two places; 0 within one machine."""
        link = self.links.get(frozenset((self.machine[device_of(source)], self.machine[device_of(destination)])))
        return np.zeros(len(self.tensor_bytes)) if link is None else self.cost(link, joules=joules)

    def straight(self, source: str, destination: str) -> tuple[Floats, Floats] | None:
        """Return [T] seconds and [T] joules of the cheapest direct way between two states; None where there is none.

        By an entry, with the link where they are on two machines; or through the memory of a machine other than host's
        that both are on; or from machine to machine over a link of their own.
        """
        ways = []
        one, other = self.machine[device_of(source)], self.machine[device_of(destination)]
        copy = self.find(source, destination)
        if copy is not None:
            ways.append(
                [
                    self.cost(copy, joules=kind) + self.over_link(source, destination, joules=kind)
                    for kind in (False, True)
                ]
            )
        linked = one == other or frozenset((one, other)) in self.links
        if HOST not in (one, other) and linked:
            ways.append(
                [
                    self.within(source, to_host=True, joules=kind)
                    + self.over_link(source, destination, joules=kind)
                    + self.within(destination, to_host=False, joules=kind)
                    for kind in (False, True)
                ]
            )
        if not ways:
            return None
        best = np.argmin([seconds for seconds, _ in ways], axis=0)
        chosen = [np.choose(best, [way[kind] for way in ways]) for kind in (0, 1)]
        return chosen[0], chosen[1]

    def direct(self) -> dict[tuple[int, int], tuple[Floats, Floats]]:
        """Return the direct costs between each pair of states of two resident devices, where there is a way."""
        states = [
            (s, state, d)
            for s, (state, d) in enumerate(
                (state, d) for d, device in enumerate(self.profile.devices) for state in device.states
            )
            if self.profile.devices[d].io == "resident" and self.profile.devices[d].name in self.named
        ]
        found = {
            (s1, s2): self.straight(state1, state2)
            for s1, state1, d1 in states
            for s2, state2, d2 in states
            if d1 != d2
        }
        return {pair: costs for pair, costs in found.items() if costs is not None}


def cheaper_direct(lines: TransferCosts) -> tuple[dict[tuple[int, int], Floats], dict[tuple[int, int], Floats]]:
    """Return seconds and joules of direct copies; inf for the tensors that are cheaper by way of host.

    A tensor goes directly where that takes no more seconds than its two copies by way of host; of equal seconds the
    fewer joules decide. A way by host that costs nothing at all beside a direct way that costs something was not
    measured (published tables give direct copies only), so it is not taken. Pairs between which no tensor goes
    directly are left out.
    """
    out_s, in_s = lines.by_state(to_host=True, joules=False), lines.by_state(to_host=False, joules=False)
    out_j, in_j = lines.by_state(to_host=True, joules=True), lines.by_state(to_host=False, joules=True)
    found_s: dict[tuple[int, int], Floats] = {}
    found_j: dict[tuple[int, int], Floats] = {}
    for (source, destination), (straight, own_j) in lines.direct().items():
        by_host_s = out_s[:, source] + in_s[:, destination]
        by_host_j = out_j[:, source] + in_j[:, destination]
        unknown = (by_host_s == 0) & (by_host_j == 0)
        direct = unknown | (straight < by_host_s) | ((straight == by_host_s) & (own_j <= by_host_j))
        if direct.any():
            found_s[source, destination] = np.where(direct, straight, INF)
            found_j[source, destination] = np.where(direct, own_j, INF)
    return found_s, found_j
