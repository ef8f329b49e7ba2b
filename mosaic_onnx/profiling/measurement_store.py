"""What was measured before, for one state of one device: cache keys, and values to and from JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.profiling.attribution import KernelShare
from mosaic_onnx.profiling.digest import Digest
from mosaic_onnx.profiling.energy import Energy
from mosaic_onnx.profiling.measuring.copies import CopyTimes
from mosaic_onnx.profiling.measuring.slices import SliceMeasurement

PROTOCOL = 4
"""How things are measured; raise it whenever a figure would come out otherwise, and old entries are no longer used."""

Json = Any


@dataclass(frozen=True)
class Conditions:
    """What a figure depends on besides the slice and the device.

    Attributes:
        versions: of backends, providers and drivers.
        machine: ``machine.fingerprint``.
        model: digest of model and inputs, for slices whose cost depends on values.
    """

    versions: Mapping[str, str]
    machine: Mapping[str, str | int]
    model: str


@dataclass(frozen=True)
class MeasurementStore:
    """Measurements of one state of one device.

    Attributes:
        cache: where they are kept; None to measure everything anew and keep nothing.
        device: its name is no part of the key: equal devices may be called as one likes.
        level: the level that it is at; None where it has none.
        conditions: the rest of the key.
    """

    cache: Cache | None
    device: Device
    level: Level | None
    conditions: Conditions

    def measurement(self, digest: Digest, what: str = "slice") -> SliceMeasurement | None:
        """What measuring a slice gave (``what``: ``probe`` for compiling alone)."""
        value = self._recall(what, digest)
        return _made(SliceMeasurement, value)

    def keep_measurement(self, digest: Digest, measurement: SliceMeasurement, what: str = "slice") -> None:
        """Keep it, unless the next try may end otherwise."""
        if measurement.is_lasting:
            value = dataclasses.asdict(measurement)
            del value["differences"]  # they were judged
            self._keep(what, digest, value)

    def shares(self, digest: Digest) -> dict[int, KernelShare] | None:
        """What each layer takes while the whole slice runs, layers counted from the slice's first."""
        value = self._recall("shares", digest)
        try:
            return None if value is None else {int(layer): KernelShare(**share) for layer, share in value}
        except (TypeError, ValueError):  # an older program wrote other fields
            return None

    def keep_shares(self, digest: Digest, shares: Mapping[int, KernelShare]) -> None:
        """Keep them."""
        self._keep("shares", digest, [[layer, dataclasses.asdict(share)] for layer, share in shares.items()])

    def energy(self, digest: Digest) -> Energy | None:
        """The joules of one run of a slice."""
        value = self._recall("energy", digest)
        try:
            return None if value is None else Energy(**value)
        except TypeError:  # an older program wrote other fields
            return None

    def keep_energy(self, digest: Digest, energy: Energy) -> None:
        """Keep them, where they were measured."""
        if energy.source == "measured":
            self._keep("energy", digest, dataclasses.asdict(energy))

    def copies(self) -> CopyTimes | None:
        """The copy microbenchmark."""
        value = self._recall("copies", None)
        if value is None:
            return None
        return CopyTimes(**{name: tuple((int(b), float(s)) for b, s in points) for name, points in value.items()})

    def keep_copies(self, copies: CopyTimes) -> None:
        """Keep it."""
        self._keep("copies", None, dataclasses.asdict(copies))

    def names(self, what: str, digest: Digest) -> tuple[str, ...] | None:
        """A list of texts kept under ``what``."""
        value = self._recall(what, digest)
        return None if value is None else tuple(map(str, value))

    def keep_names(self, what: str, digest: Digest, names: tuple[str, ...]) -> None:
        """Keep it."""
        self._keep(what, digest, list(names))

    def _recall(self, what: str, digest: Digest | None) -> Json | None:
        return None if self.cache is None else self.cache.lookup(self._key(what, digest))

    def _keep(self, what: str, digest: Digest | None, value: Json) -> None:
        if self.cache is not None:
            self.cache.store(self._key(what, digest), value)

    def _key(self, what: str, digest: Digest | None) -> dict[str, Json]:
        depends = digest is not None and digest.depends_on_values
        device = self.device
        return {
            "protocol": PROTOCOL,
            "what": what,
            "slice": None if digest is None else digest.text,
            "model": self.conditions.model if depends else None,
            "backend": device.backend,
            "precision": device.precision,
            "options": dict(device.options),
            "level": None if self.level is None else [self.level.name, self.level.frequency_hz],
            "versions": dict(self.conditions.versions),
            "machine": dict(self.conditions.machine),
        }


def _made(kind: type[SliceMeasurement], value: Json | None) -> SliceMeasurement | None:
    """An outcome from an entry; None where an older program wrote other fields."""
    try:
        return None if value is None else kind(**value)
    except TypeError:
        return None
