"""One model for several shapes of its inputs: the session picks the plan by what it is fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import overload

import numpy as np

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.graph.signature import TensorSpec
from mosaic_onnx.runtime.admission import Outputs
from mosaic_onnx.runtime.arguments import Feeds, OutputNames, read_arguments
from mosaic_onnx.runtime.guards import Incidents
from mosaic_onnx.runtime.session import Session
from mosaic_onnx.runtime.workers import Workers

Shapes = tuple[tuple[int, ...], ...]
"""[input] a concrete shape."""


class ShapedSession:
    """Sessions of one model, one for each set of input shapes, on the same workers; it is used as a ``Session`` is.

    Results of requests of different shapes may come in another order than they were submitted in.
    """

    def __init__(self, sessions: Sequence[Session], workers: Workers, *, owns_workers: bool = True) -> None:
        """Take the sessions over.

        Args:
            sessions: with the same inputs and outputs, but for their shapes.
            workers: of all of them.
            owns_workers: end them with the session.
        """
        self._sessions: dict[Shapes, Session] = {_shapes_of(one): one for one in sessions}
        self._inputs = _common([one.inputs for one in sessions])
        self._outputs = _common([one.outputs for one in sessions])
        self._names = [one.name for one in self._inputs]
        self._output_names = tuple(one.name for one in self._outputs)
        self._workers = workers
        self._owns_workers = owns_workers

    @property
    def incidents(self) -> Incidents:
        """The failures survived, in all sessions together."""
        counted = Incidents()
        for session in self._sessions.values():
            for words, count in session.incidents.fallbacks.items():
                counted.fallbacks[words] = counted.fallbacks.get(words, 0) + count
        return counted

    @overload
    def run(self, first: Feeds, feeds: None = None, run_options: None = None) -> Outputs: ...

    @overload
    def run(self, first: OutputNames, feeds: Feeds, run_options: None = None) -> list[Array]: ...

    def run(
        self, first: Feeds | OutputNames, feeds: Feeds | None = None, run_options: None = None
    ) -> Outputs | list[Array]:
        """Run once and wait, on the plan for these shapes; see ``Session.run``.

        Raises:
            ModelError: the model was not compiled for these shapes.
            MosaicError: as for ``Session.run``.
        """
        names, fed = read_arguments(first, feeds, run_options, self._inputs, self._output_names)
        outputs = self._session_for(fed).run(fed)
        return outputs if names is None else [outputs[name] for name in names]

    def run_async(
        self, first: Feeds | OutputNames, feeds: Feeds | None = None, *, priority: int = 0
    ) -> Future[Outputs]:
        """Submit a request to the plan for these shapes; see ``Session.run_async``.

        Raises:
            ModelError: the model was not compiled for these shapes.
            MosaicError: as for ``Session.run_async``.
        """
        names, fed = read_arguments(first, feeds, None, self._inputs, self._output_names)
        session = self._session_for(fed)
        return (
            session.run_async(fed, priority=priority)
            if names is None
            else session.run_async(names, fed, priority=priority)
        )

    def _session_for(self, inputs: Mapping[str, Array]) -> Session:
        shapes = tuple(np.shape(inputs[name]) if name in inputs else () for name in self._names)
        session = self._sessions.get(shapes)
        if session is not None:
            return session
        if set(inputs) != set(self._names):  # the session says which name is wrong
            return next(iter(self._sessions.values()))
        fed = " ".join(f"{name}:{','.join(map(str, shape))}" for name, shape in zip(self._names, shapes, strict=True))
        compiled = "; ".join(
            " ".join(f"{name}:{','.join(map(str, shape))}" for name, shape in zip(self._names, each, strict=True))
            for each in self._sessions
        )
        raise ModelError(
            f"the model was compiled for other shapes than {fed}: it takes {compiled}",
            "compile it with these sizes in --input-shape too, such as --input-shape NAME:{1,4,8},3,224,224",
        )

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs; None for a dimension that several sizes are compiled for."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs; None for a dimension that depends on the shapes."""
        return self._outputs

    def get_inputs(self) -> list[TensorSpec]:
        """As ``inputs``, by ONNX Runtime's name."""
        return list(self._inputs)

    def get_outputs(self) -> list[TensorSpec]:
        """As ``outputs``, by ONNX Runtime's name."""
        return list(self._outputs)

    @property
    def in_flight_limit(self) -> int:
        """Requests that can be under way at once, all shapes together."""
        return sum(one.in_flight_limit for one in self._sessions.values())

    def close(self) -> None:
        """Finish what was submitted, then give threads and memory back; calling it twice is harmless."""
        for session in self._sessions.values():
            session.close()
        if self._owns_workers:
            self._workers.close()

    def __enter__(self) -> ShapedSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _shapes_of(session: Session) -> Shapes:
    return tuple(tuple(dim for dim in one.shape if isinstance(dim, int)) for one in session.inputs)


def _common(specs: Sequence[Sequence[TensorSpec]]) -> tuple[TensorSpec, ...]:
    """The specifications with None where shapes differ."""
    merged = []
    for each in zip(*specs, strict=True):
        shapes = [one.shape for one in each]
        shape: tuple[int | str | None, ...] = ()
        if len({len(one) for one in shapes}) == 1:
            shape = tuple(dims[0] if len(set(dims)) == 1 else None for dims in zip(*shapes, strict=True))
        merged.append(TensorSpec(each[0].name, each[0].type, shape))
    return tuple(merged)
