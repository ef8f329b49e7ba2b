"""The value that each slice reads: a tensor where it was produced, or the result of transfers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.plans import Plan, Transfer
from mosaic_onnx.core.profiles import HOST, Profile


@dataclass(frozen=True)
class TransferCall:
    """One transfer in the file: from value ``source_value`` to ``value``."""

    tensor: str
    source_value: str
    value: str
    source: str
    destination: str
    bytes: int


@dataclass
class TransferCalls:
    """The values of each tensor by place, while the calls are laid out.

    They follow the plan's transfers. Where a tensor passes between devices that share memory, the plan has none; a
    transfer without cost is added there, since it is a boundary too.

    Attributes:
        plan: the plan.
        shares_host: for each device, whether it works in host memory.
        tensor_bytes: sizes by tensor.
        taken: value names that are in use.
        homes: device that produces each tensor; ``host`` for the model's inputs.
        base: name of each tensor where it is produced.
        made: transfers in the order of the requests.
        arrived: {value that a transfer produces: its tensor}.
    """

    plan: Plan
    shares_host: Mapping[str, bool]
    tensor_bytes: Mapping[str, int]
    taken: set[str]
    homes: dict[str, str] = field(default_factory=dict)
    base: dict[str, str] = field(default_factory=dict)
    made: list[TransferCall] = field(default_factory=list)
    arrived: dict[str, str] = field(default_factory=dict)
    _values: dict[tuple[str, int], str] = field(default_factory=dict)
    _free: dict[tuple[str, str], str] = field(default_factory=dict)
    _used: set[tuple[str, int]] = field(default_factory=set)
    _entries: dict[str, list[Transfer]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for transfer in self.plan.transfers:
            self._entries.setdefault(transfer.tensor, []).append(transfer)

    @property
    def origins(self) -> dict[str, str]:
        """Return {value that enters or leaves a slice: its tensor}."""
        return {**{value: tensor for tensor, value in self.base.items()}, **self.arrived}

    def place(self, device: str) -> str:
        """Return the place of a device's memory: the device itself, or host where it shares host memory."""
        return HOST if device == HOST or self.shares_host.get(device, True) else device

    def value_for(self, tensor: str, device: str) -> str:
        """Return the value that a slice on ``device`` reads, after adding the transfers that it needs."""
        home = self.homes[tensor]
        arrived = self._arrival(tensor, self.place(device), fresh=True)
        if arrived is not None:
            return arrived
        if device in (home, HOST) or (home == HOST and self.place(device) == HOST):
            return self.base[tensor]
        key = (tensor, device)
        if key not in self._free:
            size = self.tensor_bytes.get(tensor, 0)
            self._free[key] = self._make(tensor, self.base[tensor], home, device, size)
        return self._free[key]

    def output_value(self, tensor: str) -> str:
        """Return the value at host of one of the model's outputs."""
        return self._arrival(tensor, HOST, fresh=False) or self.base[tensor]

    def leaves_home(self, tensor: str) -> bool:
        """Return whether the plan transfers the tensor, produced elsewhere, to host."""
        made_elsewhere = self.place(self.homes[tensor]) != HOST
        entries = self._entries.get(tensor, ())
        return made_elsewhere and any(self.place(entry.destination) == HOST for entry in entries)

    def _arrival(self, tensor: str, place: str, *, fresh: bool) -> str | None:
        """Return the value that the plan's transfers produce at a place; None where there is none.

        A plan transfers a tensor again for every slice of a device that keeps nothing: ``fresh`` takes the next one.
        """
        entries = self._entries.get(tensor, [])
        arrivals = [at for at, entry in enumerate(entries) if self.place(entry.destination) == place]
        if not arrivals:
            return None
        unused = [at for at in arrivals if (tensor, at) not in self._used] if fresh else []
        chosen = unused[0] if unused else arrivals[-1] if fresh else arrivals[0]
        if fresh and place != HOST:
            self._used.add((tensor, chosen))
        key = (tensor, chosen)
        if key not in self._values:
            entry = entries[chosen]
            source = self.base[tensor]
            if self.place(entry.source) != self.place(self.homes[tensor]):
                source = self._arrival(tensor, self.place(entry.source), fresh=False) or source
            self._values[key] = self._make(tensor, source, entry.source, entry.destination, entry.bytes)
        return self._values[key]

    def _make(self, tensor: str, source_value: str, source: str, destination: str, size: int) -> str:
        at_host = self.place(destination) == HOST and self.base[tensor] != tensor
        wanted = tensor if at_host else f"{tensor}@{destination}"
        value, count = wanted, 1
        while value in self.taken:
            count += 1
            value = f"{wanted}#{count}"
        self.taken.add(value)
        self.arrived[value] = tensor
        self.made.append(TransferCall(tensor, source_value, value, source, destination, size))
        return value


def shared_memory(profile: Profile) -> dict[str, bool]:
    """Return {device: whether it works in host memory}: devices without transfer costs do."""
    named = {device_of(place) for copy in profile.copies for place in (copy.source, copy.destination)}
    return {device.name: device.name not in named for device in profile.devices}
