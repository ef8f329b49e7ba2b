"""The Python API: the commands as functions. Typed; nothing here prints."""

from __future__ import annotations

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
