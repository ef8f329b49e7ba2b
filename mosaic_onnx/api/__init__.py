"""The Python API: the commands as functions. Typed; nothing here prints.

Each name is imported when it is first used: a command that needs no planner waits for none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mosaic_onnx.analysis.explain import explain_layer, explain_plan
    from mosaic_onnx.analysis.plan_diff import diff_plans
    from mosaic_onnx.api.checking import Report, export, report, verify
    from mosaic_onnx.api.compiling import annotate, bundle_folder, compile, compile_unwritten, free_bundle_folder, write
    from mosaic_onnx.api.machine import examine_machine, find_devices
    from mosaic_onnx.api.planning import load_plan, plan, plan_front, plan_in_profile, single_devices, what_if
    from mosaic_onnx.api.profiling import Inspection, inspect, load_profile, mix_shapes, profile
    from mosaic_onnx.api.running import bench, bench_throughput, bundle_inputs, load, run, write_arrays
    from mosaic_onnx.api.scheduling import load_scenario, schedule, schedule_site, serve_scenario
    from mosaic_onnx.core.constraints import Constraints
    from mosaic_onnx.discovery.selection import Selection
    from mosaic_onnx.files.device_file import write_devices
    from mosaic_onnx.files.plan_file import write_front, write_plan
    from mosaic_onnx.files.profile_file import write_profile
    from mosaic_onnx.importers import import_profile
    from mosaic_onnx.pipeline.benchmarking import Benchmark
    from mosaic_onnx.pipeline.compilation import Compilation
    from mosaic_onnx.pipeline.exporting import Exported
    from mosaic_onnx.pipeline.load_session import SessionOptions
    from mosaic_onnx.pipeline.npu_design import explore_npu
    from mosaic_onnx.pipeline.outside import After, Before, Instead
    from mosaic_onnx.pipeline.site.live import Isolation
    from mosaic_onnx.planner.core.request import Request
    from mosaic_onnx.report.gather import read_subject
    from mosaic_onnx.rewriting.rewrite import partition
    from mosaic_onnx.runtime.repeated_runs import RunResult
    from mosaic_onnx.runtime.session import Session

__all__ = [
    "After",
    "Before",
    "Benchmark",
    "Compilation",
    "Constraints",
    "Exported",
    "Inspection",
    "Instead",
    "Isolation",
    "Report",
    "Request",
    "RunResult",
    "Selection",
    "Session",
    "SessionOptions",
    "annotate",
    "bench",
    "bench_throughput",
    "bundle_folder",
    "bundle_inputs",
    "compile",
    "compile_unwritten",
    "diff_plans",
    "examine_machine",
    "explain_layer",
    "explain_plan",
    "explore_npu",
    "export",
    "find_devices",
    "free_bundle_folder",
    "import_profile",
    "inspect",
    "load",
    "load_plan",
    "load_profile",
    "load_scenario",
    "mix_shapes",
    "partition",
    "plan",
    "plan_front",
    "plan_in_profile",
    "profile",
    "read_subject",
    "report",
    "run",
    "schedule",
    "schedule_site",
    "serve_scenario",
    "single_devices",
    "verify",
    "what_if",
    "write",
    "write_arrays",
    "write_devices",
    "write_front",
    "write_plan",
    "write_profile",
]

_PLACES = {
    "After": "mosaic_onnx.pipeline.outside",
    "Before": "mosaic_onnx.pipeline.outside",
    "Benchmark": "mosaic_onnx.pipeline.benchmarking",
    "Compilation": "mosaic_onnx.pipeline.compilation",
    "Constraints": "mosaic_onnx.core.constraints",
    "Exported": "mosaic_onnx.pipeline.exporting",
    "Inspection": "mosaic_onnx.api.profiling",
    "Instead": "mosaic_onnx.pipeline.outside",
    "Isolation": "mosaic_onnx.pipeline.site.live",
    "Report": "mosaic_onnx.api.checking",
    "Request": "mosaic_onnx.planner.core.request",
    "RunResult": "mosaic_onnx.runtime.repeated_runs",
    "Selection": "mosaic_onnx.discovery.selection",
    "Session": "mosaic_onnx.runtime.session",
    "SessionOptions": "mosaic_onnx.pipeline.load_session",
    "annotate": "mosaic_onnx.api.compiling",
    "bench": "mosaic_onnx.api.running",
    "bench_throughput": "mosaic_onnx.api.running",
    "bundle_folder": "mosaic_onnx.api.compiling",
    "bundle_inputs": "mosaic_onnx.api.running",
    "compile": "mosaic_onnx.api.compiling",
    "compile_unwritten": "mosaic_onnx.api.compiling",
    "diff_plans": "mosaic_onnx.analysis.plan_diff",
    "examine_machine": "mosaic_onnx.api.machine",
    "explain_layer": "mosaic_onnx.analysis.explain",
    "explain_plan": "mosaic_onnx.analysis.explain",
    "explore_npu": "mosaic_onnx.pipeline.npu_design",
    "export": "mosaic_onnx.api.checking",
    "find_devices": "mosaic_onnx.api.machine",
    "free_bundle_folder": "mosaic_onnx.api.compiling",
    "import_profile": "mosaic_onnx.importers",
    "inspect": "mosaic_onnx.api.profiling",
    "load": "mosaic_onnx.api.running",
    "load_plan": "mosaic_onnx.api.planning",
    "load_profile": "mosaic_onnx.api.profiling",
    "load_scenario": "mosaic_onnx.api.scheduling",
    "mix_shapes": "mosaic_onnx.api.profiling",
    "partition": "mosaic_onnx.rewriting.rewrite",
    "plan": "mosaic_onnx.api.planning",
    "plan_front": "mosaic_onnx.api.planning",
    "plan_in_profile": "mosaic_onnx.api.planning",
    "profile": "mosaic_onnx.api.profiling",
    "read_subject": "mosaic_onnx.report.gather",
    "report": "mosaic_onnx.api.checking",
    "run": "mosaic_onnx.api.running",
    "schedule": "mosaic_onnx.api.scheduling",
    "schedule_site": "mosaic_onnx.api.scheduling",
    "serve_scenario": "mosaic_onnx.api.scheduling",
    "single_devices": "mosaic_onnx.api.planning",
    "verify": "mosaic_onnx.api.checking",
    "what_if": "mosaic_onnx.api.planning",
    "write": "mosaic_onnx.api.compiling",
    "write_arrays": "mosaic_onnx.api.running",
    "write_devices": "mosaic_onnx.files.device_file",
    "write_front": "mosaic_onnx.files.plan_file",
    "write_plan": "mosaic_onnx.files.plan_file",
    "write_profile": "mosaic_onnx.files.profile_file",
}
"""By name, the module that has it; a test holds it to the imports above."""


def __getattr__(name: str) -> Any:
    """Return a name of ``__all__``, imported when it is first used."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_PLACES[name]), name)
    return found
