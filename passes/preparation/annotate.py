"""Ask every device which layers it can run, and why not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from mosaic_onnx.passes.state import State


@dataclass(frozen=True)
class Annotate:
    """Take the backends' word for which device can run which layer; measuring checks it.

    Attributes:
        refuse: refuse a model with a layer that no device can run, or that ONNX Runtime, the reference, does not take;
            one whose nodes contradict themselves is refused in any case.
    """

    name: ClassVar[str] = "annotate"
    requires: ClassVar[tuple[str, ...]] = ("selection", "opened", "normalised", "graph")
    ensures: ClassVar[tuple[str, ...]] = ("annotation",)

    refuse: bool = True

    def __call__(self, state: State) -> State:
        """Add the annotation.

        Raises:
            BackendError: a device's backend is not here.
            ModelError: no device can run some layer, or a node cannot be; the message names it.
        """
        from mosaic_onnx.profiling.acceptance import refuse_malformed, refuse_unrunnable
        from mosaic_onnx.profiling.annotation import annotate

        chosen = state.selection
        annotation = annotate(state.normalised, state.graph, chosen.chosen, chosen.backends)
        if self.refuse:
            refuse_unrunnable(state.opened, state.normalised, annotation, chosen.chosen, state.children)
        else:
            refuse_malformed(state.opened, state.children)
        return replace(state, annotation=annotation)
