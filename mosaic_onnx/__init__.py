"""mosaic-onnx: partition an ONNX model across the unequal devices of a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mosaic_onnx.api import (
        After,
        Before,
        Constraints,
        Instead,
        Request,
        annotate,
        compile,
        export,
        find_devices,
        inspect,
        load,
        load_plan,
        load_profile,
        load_scenario,
        mix_shapes,
        partition,
        plan,
        profile,
        run,
        schedule,
        schedule_site,
        serve_scenario,
        verify,
        what_if,
    )

__version__ = "0.1.0"
__all__ = [
    "After",
    "Before",
    "Constraints",
    "Instead",
    "Request",
    "__version__",
    "annotate",
    "compile",
    "export",
    "find_devices",
    "inspect",
    "load",
    "load_plan",
    "load_profile",
    "load_scenario",
    "mix_shapes",
    "partition",
    "plan",
    "profile",
    "run",
    "schedule",
    "schedule_site",
    "serve_scenario",
    "verify",
    "what_if",
]


def __getattr__(name: str) -> Any:
    """Return a name of ``mosaic_onnx.api``, imported when it is first used: ``--help`` needs none."""
    if name in __all__:
        from mosaic_onnx import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
