"""A backend around another one: the base of those that guard, mark or isolate what a vendor's code does."""

from __future__ import annotations

import onnx

from mosaic_onnx.backends.base import Backend, FoundDevices
from mosaic_onnx.core.devices import Device


class WrappedBackend:
    """A backend that asks another one; optional parts of the contract that it does not have are the other's."""

    def __init__(self, inner: Backend) -> None:
        """Wrap a backend; a subclass sets its own attributes first, so that they stand before the other's."""
        self.inner = inner
        for name in dir(inner):
            if not name.startswith("_") and not hasattr(self, name):
                setattr(self, name, getattr(inner, name))

    @property
    def name(self) -> str:
        """The backend's name."""
        return self.inner.name

    def find(self) -> FoundDevices:
        """See ``Backend``."""
        return self.inner.find()

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        """See ``Backend``."""
        return self.inner.supports(node, device)
