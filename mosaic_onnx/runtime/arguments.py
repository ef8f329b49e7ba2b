"""The arguments of ``Session.run`` in either form: ``run(feeds)`` and ONNX Runtime's ``run(output_names, feeds)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.graph.signature import TensorSpec

Feeds = Mapping[str, Array] | Array
"""Arrays by input name; the array alone where the model has one input."""
OutputNames = Sequence[str] | None
"""Outputs that are asked for; None for all of them."""


def read_arguments(
    first: Feeds | OutputNames,
    feeds: Feeds | None,
    run_options: None,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[str],
) -> tuple[Sequence[str] | None, Mapping[str, Array]]:
    """Names of the outputs that are asked for (None where feeds came alone), and arrays by input name.

    Args:
        first: feeds, or names of outputs.
        feeds: the arrays where names came first.
        run_options: must be None.
        inputs: what the model takes.
        outputs: names of what it gives.

    Raises:
        UsageError: the arguments do not fit, or a name is not an output.
    """
    if feeds is None and isinstance(first, Mapping):
        return None, first
    if run_options is not None:
        raise UsageError("run options are ONNX Runtime's and mean nothing here", "leave run_options out")
    if isinstance(first, np.ndarray | Mapping):
        if feeds is not None:
            raise UsageError("names of outputs come before the feeds", "call run(feeds) or run(output_names, feeds)")
        return None, as_feeds(first, inputs)
    if feeds is None:
        raise UsageError("no feeds were given", "call run(feeds) or run(output_names, feeds)")
    return checked_names(first, outputs), as_feeds(feeds, inputs)


def as_feeds(feeds: Feeds, inputs: Sequence[TensorSpec]) -> Mapping[str, Array]:
    """Arrays by name; one array alone is that of the only input.

    Raises:
        UsageError: an array alone, and the model has several inputs or none; or neither array nor mapping.
    """
    if isinstance(feeds, Mapping):
        return feeds
    names = [one.name for one in inputs]
    if not isinstance(feeds, np.ndarray):
        raise UsageError(f"feeds are a {type(feeds).__name__}", "give arrays by input name: {name: array}")
    if len(names) != 1:
        raise UsageError(
            f"one array was given, and the model has {len(names)} inputs", f"give arrays by name: {', '.join(names)}"
        )
    return {names[0]: feeds}


def checked_names(names: OutputNames, outputs: Sequence[str]) -> Sequence[str]:
    """The outputs that are asked for; all of them for None, and for an empty list as ONNX Runtime has it.

    Raises:
        UsageError: a name is not an output.
    """
    if not names:
        return outputs
    if isinstance(names, str):
        raise UsageError(f"names of outputs are one text, {names!r}", f"give a list: [{names!r}]")
    unknown = [name for name in names if name not in outputs]
    if unknown:
        raise UsageError(f"{unknown[0]!r} is not an output", f"the model gives {', '.join(outputs)}")
    return names
