"""Open the model file, which nobody vouches for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from mosaic_onnx.passes.state import State

if TYPE_CHECKING:
    from mosaic_onnx.loading.checks import Limits


@dataclass(frozen=True)
class Load:
    """Open the model file within limits.

    Attributes:
        limits: of file size, time and memory; None for the usual ones.
    """

    name: ClassVar[str] = "load"
    requires: ClassVar[tuple[str, ...]] = ("path",)
    ensures: ClassVar[tuple[str, ...]] = ("opened",)

    limits: Limits | None = None

    def __call__(self, state: State) -> State:
        """Add the opened model.

        Raises:
            ModelError: the file is refused; the message names it and the thing in it.
        """
        from mosaic_onnx.loading.model import open_model

        return replace(state, opened=open_model(state.path, self.limits, state.children))
