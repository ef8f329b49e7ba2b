"""Stored measurements of one state of one device: cache keys, and values to and from JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.profiling.attribution import KernelShare
from mosaic_onnx.profiling.digest import Digest
from mosaic_onnx.profiling.energy.joules import Energy
from mosaic_onnx.profiling.measuring.copies import CopyTimes
from mosaic_onnx.profiling.measuring.slices import SliceMeasurement

PROTOCOL = 5
"""Version of the measuring method; raise it with every change that changes figures, so that no old entry is used."""

ENOUGH_SPELLS = 3
"""So often measured apart, a slice that other load disturbs is known as well as this machine allows."""

Json = Any


@dataclass(frozen=True)
class Conditions:
    """The conditions that a figure depends on besides the slice and the device.

    Attributes:
        versions: of backends, providers and drivers.
        machine: ``machine.fingerprint``.
        model: digest of model and inputs, for slices whose cost depends on values.
        efforts: names of how long was measured (``ProfilingEffort.kept_as``).
    """

    versions: Mapping[str, str]
    machine: Mapping[str, str | int]
    model: str
    efforts: tuple[str, ...] = ("",)


@dataclass(frozen=True)
class MeasurementStore:
    """Stored measurements of one state of one device.

    Attributes:
        cache: the cache; None to measure everything anew and store nothing.
        device: the device; its name is not part of the key.
        level: the level that it is at; None where it has none.
        conditions: the rest of the key.
    """

    cache: Cache | None
    device: Device
    level: Level | None
    conditions: Conditions

    def measurement(self, digest: Digest, what: str = "slice") -> SliceMeasurement | None:
        """Return the stored measurement of a slice (``what``: ``probe`` for compiling alone).

        One that other load disturbed is not returned, so that it is measured again, until it was often enough.
        """
        found = self._measurement(digest, what)
        is_doubtful = found is not None and found.is_disturbed and found.spell_count < ENOUGH_SPELLS
        return None if is_doubtful else found

    def with_earlier(self, digest: Digest, measurement: SliceMeasurement) -> SliceMeasurement:
        """Return the faster of a measurement and the stored one that other load disturbed, where both ran right."""
        earlier = self._measurement(digest, "slice")
        if earlier is None or not earlier.is_disturbed or earlier.wrong or measurement.reason or measurement.wrong:
            return measurement
        return measurement.least(earlier)

    def keep_measurement(self, digest: Digest, measurement: SliceMeasurement, what: str = "slice") -> None:
        """Store a measurement, unless the next try may end otherwise."""
        if measurement.is_lasting:
            value = dataclasses.asdict(measurement)
            del value["differences"]  # the verdict is in ``wrong``
            self._keep(what, digest, value)

    def shares(self, digest: Digest) -> dict[int, KernelShare] | None:
        """Return the stored {layer: share of the slice's time}, layers counted from the slice's first."""
        value = self._recall("shares", digest)
        try:
            return None if value is None else {int(layer): KernelShare(**share) for layer, share in value}
        except (TypeError, ValueError):  # an older version wrote other fields
            return None

    def keep_shares(self, digest: Digest, shares: Mapping[int, KernelShare]) -> None:
        """Store the layers' shares of a slice."""
        self._keep("shares", digest, [[layer, dataclasses.asdict(share)] for layer, share in shares.items()])

    def energy(self, digest: Digest) -> Energy | None:
        """Return the joules of one run of a slice."""
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
        """Return the stored times of the transfer microbenchmark."""
        value = self._recall("copies", None)
        if value is None:
            return None
        return CopyTimes(**{name: tuple((int(b), float(s)) for b, s in points) for name, points in value.items()})

    def keep_copies(self, copies: CopyTimes) -> None:
        """Store the times of the transfer microbenchmark."""
        self._keep("copies", None, dataclasses.asdict(copies))

    def names(self, what: str, digest: Digest) -> tuple[str, ...] | None:
        """Return the names stored under ``what``."""
        value = self._recall(what, digest)
        return None if value is None else tuple(map(str, value))

    def keep_names(self, what: str, digest: Digest, names: tuple[str, ...]) -> None:
        """Store names under ``what``."""
        self._keep(what, digest, list(names))

    def _measurement(self, digest: Digest, what: str) -> SliceMeasurement | None:
        return _made(SliceMeasurement, self._recall(what, digest))

    def _recall(self, what: str, digest: Digest | None) -> Json | None:
        if self.cache is None:
            return None
        found = (self.cache.lookup(self._key(what, digest, effort)) for effort in self.conditions.efforts)
        return next((value for value in found if value is not None), None)

    def _keep(self, what: str, digest: Digest | None, value: Json) -> None:
        if self.cache is not None:
            self.cache.store(self._key(what, digest, self.conditions.efforts[0]), value)

    def _key(self, what: str, digest: Digest | None, effort: str) -> dict[str, Json]:
        depends = digest is not None and digest.depends_on_values
        device = self.device
        return {
            "protocol": PROTOCOL,
            **({"effort": effort} if effort else {}),
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
    """Return the measurement of an entry; None where an older version wrote other fields."""
    try:
        return None if value is None else kind(**value)
    except TypeError:
        return None
