"""Helpers of the conformance checks: requirements, expected refusals, agreement within a precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError

TOLERANCES = {"f32": 1e-4, "f16": 1e-2, "bf16": 2e-2}
"""Largest |a-b| / max|b| by the device's precision; integers and booleans must be equal."""


class NotConformingError(BackendError):
    """The backend breaks the contract; the message names the part."""


def require(condition: object, what: str) -> None:
    """Raise ``NotConformingError`` unless a condition holds.

    Raises:
        NotConformingError: the condition does not hold.
    """
    if not condition:
        raise NotConformingError(what)


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Require that the block raises a BackendError."""
    try:
        yield
    except BackendError as error:
        require(error.message, f"{what}: its BackendError says nothing")
    except Exception as error:
        raise NotConformingError(f"{what}: raised {type(error).__name__}, not BackendError: {error}") from error
    else:
        raise NotConformingError(f"{what}: was accepted")


@contextmanager
def working(what: str) -> Iterator[None]:
    """Require that the block does not raise."""
    try:
        yield
    except NotConformingError:
        raise
    except Exception as error:
        raise NotConformingError(f"{what}: {type(error).__name__}: {error}") from error


def agree(device: Device, actual: Array, expected: Array, what: str) -> None:
    """Require that outputs agree with the expected ones within the device's precision."""
    require(isinstance(actual, np.ndarray), f"{what}: is a {type(actual).__name__}, not an array")
    require(actual.dtype == expected.dtype, f"{what}: has type {actual.dtype}, not {expected.dtype}")
    require(actual.shape == expected.shape, f"{what}: has shape {actual.shape}, not {expected.shape}")
    if expected.dtype.kind != "f":
        require(np.array_equal(actual, expected), f"{what}: differs")
        return
    wanted, made = expected.astype(np.float64), actual.astype(np.float64)
    scale = np.abs(wanted).max(initial=0.0) or 1.0
    error = np.abs(made - wanted).max(initial=0.0) / scale
    require(error <= TOLERANCES.get(device.precision, 1e-2), f"{what}: differs by {error:.2g} of its largest value")
