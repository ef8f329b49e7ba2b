"""Runs on a simulated device: real outputs, and a wait until the simulated time has passed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from mosaic_onnx.backends.base import Array, Place, Runner
from mosaic_onnx.backends.simulated.options import CopyLine


@dataclass
class SimulatedBuffer:
    """A tensor in simulated device memory: host memory, with a wait for every transfer."""

    array: Array
    memory: SimulatedMemory

    def upload(self, array: Array) -> None:
        """Copy in, in the described time or longer."""
        with waiting(self.memory.copy_seconds(self.memory.copy_in, self.array.nbytes)):
            np.copyto(self.array, array)

    def download(self, array: Array) -> None:
        """Copy out, in the described time or longer."""
        with waiting(self.memory.copy_seconds(self.memory.copy_out, self.array.nbytes)):
            np.copyto(array, self.array)


@dataclass(frozen=True)
class SimulatedMemory:
    """The memory of a described device that does not share host memory."""

    copy_in: CopyLine
    copy_out: CopyLine
    time_scale: float = 1.0

    def allocate(self, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> SimulatedBuffer:
        """Return a new buffer; contents undefined."""
        return SimulatedBuffer(np.empty(shape, dtype), self)

    def copy_seconds(self, line: CopyLine, byte_count: int) -> float:
        """Return the real seconds of a transfer: α·bytes + β (Equations 1 and 2), scaled."""
        return (line.seconds_per_byte * byte_count + line.seconds) * self.time_scale


@dataclass
class SimulatedRunner:
    """A loaded slice whose calls take at least its simulated time (longer where the CPU needs longer)."""

    inner: Runner
    seconds: float

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute on the CPU, then wait for the rest of the simulated time."""
        with waiting(self.seconds):
            return self.inner.run(inputs)

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        """Bind to the arrays behind the places; the call is complete when it returns."""
        call = self.inner.bind(_arrays(inputs), _arrays(outputs))
        seconds = self.seconds

        def timed_call() -> None:
            with waiting(seconds):
                call()

        return timed_call

    def assignment(self) -> Mapping[str, str] | None:
        """Return the provider that runs each node: ONNX Runtime's CPU provider."""
        return self.inner.assignment()

    def close(self) -> None:
        """Close the session."""
        self.inner.close()


@dataclass
class waiting:  # lower case, since it is used as a statement: with waiting(seconds)
    """A context that ends no earlier than ``seconds`` after its start."""

    seconds: float
    _entered_s: float = field(default=0.0, init=False)

    def __enter__(self) -> None:
        self._entered_s = time.perf_counter()

    def __exit__(self, *failure: object) -> None:
        rest_s = self._entered_s + self.seconds - time.perf_counter()
        if rest_s > 0 and failure[0] is None:
            time.sleep(rest_s)


def _arrays(places: Mapping[str, Place]) -> dict[str, Place]:
    return {name: place.array if isinstance(place, SimulatedBuffer) else place for name, place in places.items()}
