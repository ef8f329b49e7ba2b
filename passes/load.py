"""Pass: open the model file (untrusted; see ``mosaic_onnx.loading.model``)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from mosaic_onnx.loading.model import Limits, OpenedModel, open_model


@dataclass(frozen=True)
class Load:
    """Opens a model file within limits."""

    limits: Limits = field(default_factory=Limits)

    def __call__(self, path: str | os.PathLike[str]) -> OpenedModel:
        """Open the file.

        Raises:
            ModelError: it is refused; the message names the file and the thing in it.
        """
        return open_model(path, self.limits)
