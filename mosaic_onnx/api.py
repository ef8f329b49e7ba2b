"""The Python API: the commands as functions. Typed; nothing here prints."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from typing_extensions import Unpack

from mosaic_onnx.analysis.compare_changes import Supposed, compare_changes
from mosaic_onnx.analysis.explain import explain_layer, explain_plan
from mosaic_onnx.analysis.plan_diff import diff_plans
from mosaic_onnx.analysis.what_if import request_of
from mosaic_onnx.backends.base import Array
from mosaic_onnx.backends.hardware.energy_meters import find_meters
from mosaic_onnx.core.constraints import Constraints, constrain
from mosaic_onnx.core.cost_table import cost_table
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError, OutputsDifferError, UsageError
from mosaic_onnx.core.layer_facts import LayerFacts, layer_facts
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.core.shape_mix import WeighedShape, mixed_shapes
from mosaic_onnx.core.signature import TensorSpec, given_inputs, tensor_specs
from mosaic_onnx.discovery.health import Finding, examine
from mosaic_onnx.discovery.selection import Selection, participation, select
from mosaic_onnx.files.atomic import refuse_to_replace, write_atomically
from mosaic_onnx.files.bundle import Bundle, read_bundle, refuse_target
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.files.device_file import write_devices
from mosaic_onnx.files.plan_file import read_plan, write_front, write_plan
from mosaic_onnx.files.profile_file import read_profile, write_profile
from mosaic_onnx.importers import import_profile
from mosaic_onnx.loading.inputs import make_inputs, read_arrays, read_inputs
from mosaic_onnx.loading.shape_choices import ShapeChoices, only_combination
from mosaic_onnx.passes.base import run_passes
from mosaic_onnx.passes.editing import configured
from mosaic_onnx.passes.state import State, say_nothing
from mosaic_onnx.pipeline.benchmarking import Benchmark, benchmark
from mosaic_onnx.pipeline.compilation import Compilation, compile_model
from mosaic_onnx.pipeline.delivery import bind_bundle, deliver, verify_bundle
from mosaic_onnx.pipeline.efforts import with_effort
from mosaic_onnx.pipeline.exporting import Annotated, Exported, annotate_model, export_model, export_slices
from mosaic_onnx.pipeline.load_session import SessionOptions, load_model, load_session
from mosaic_onnx.pipeline.npu_design import explore_npu
from mosaic_onnx.pipeline.options import (
    CompileOptions,
    InspectOptions,
    PathLike,
    ProfileOptions,
    with_paths,
    without_effort,
)
from mosaic_onnx.pipeline.outside import After, Before, Instead
from mosaic_onnx.pipeline.pipelines import INSPECT, PLAN, PROFILE
from mosaic_onnx.pipeline.site.device_loop import schedule_measured
from mosaic_onnx.pipeline.site.folder import write_site
from mosaic_onnx.pipeline.site.live import Isolation
from mosaic_onnx.pipeline.site.profiled import profile_scenario
from mosaic_onnx.pipeline.site.served import Served, Watch, serve_site
from mosaic_onnx.pipeline.site.situations import read_situations, write_situations
from mosaic_onnx.pipeline.site.slowdowns import measure_slowdowns
from mosaic_onnx.pipeline.throughput_benchmark import ThroughputBenchmark, throughput_benchmark
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning import profile_plan
from mosaic_onnx.planning.candidates import single_device_plan
from mosaic_onnx.planning.profile_plan import plan_of_slices, proposal_of
from mosaic_onnx.profiling.progress import Progress
from mosaic_onnx.report.gather import content_of, read_subject
from mosaic_onnx.report.headline import Headline, headline_of
from mosaic_onnx.report.write import need_library, write_page
from mosaic_onnx.rewriting.rewrite import partition
from mosaic_onnx.runtime.arguments import as_feeds
from mosaic_onnx.runtime.repeated_runs import RunResult, run_repeatedly
from mosaic_onnx.runtime.session import Session
from mosaic_onnx.runtime.shaped_session import ShapedSession
from mosaic_onnx.scenarios.file import read_scenario
from mosaic_onnx.scenarios.instance import Instance, build_instance
from mosaic_onnx.scenarios.loading import load_profiles
from mosaic_onnx.scenarios.solve import Scheduled, SchedulingOptions, schedule_instance
from mosaic_onnx.verification.report import VerifyReport, merged_reports
from mosaic_onnx.verification.verify import Progress as VerifyProgress

Note = Callable[[str], None]

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
    "Request",
    "RunResult",
    "Selection",
    "Session",
    "SessionOptions",
    "bench",
    "bench_throughput",
    "compile",
    "compile_unwritten",
    "diff_plans",
    "examine_machine",
    "explain_layer",
    "explain_plan",
    "explore_npu",
    "export",
    "find_devices",
    "import_profile",
    "inspect",
    "load",
    "load_plan",
    "load_profile",
    "load_scenario",
    "partition",
    "plan",
    "plan_front",
    "profile",
    "read_subject",
    "report",
    "run",
    "schedule",
    "schedule_site",
    "serve_scenario",
    "single_devices",
    "verify",
    "write",
    "write_devices",
    "write_front",
    "write_plan",
    "write_profile",
]


@dataclass(frozen=True)
class Inspection:
    """Describe a model before anything is measured.

    Attributes:
        graph: its layers.
        devices: those that were asked.
        reasons: [L] by device name, why it cannot run the layer; absent where it claims that it can.
        notes: what was assumed.
        input_specs: what the model takes.
        output_specs: what the model gives.
        facts: [L] multiply-accumulates and bytes.
    """

    graph: LayerGraph
    devices: tuple[Device, ...]
    reasons: tuple[Mapping[str, str], ...]
    notes: tuple[str, ...] = ()
    input_specs: tuple[TensorSpec, ...] = ()
    output_specs: tuple[TensorSpec, ...] = ()
    facts: tuple[LayerFacts, ...] = ()

    @property
    def mac_count(self) -> int:
        """Return the multiply-accumulates of one run."""
        return sum(sum(one.macs.values()) for one in self.facts)

    @property
    def parameter_bytes(self) -> int:
        """Return the bytes of the weights, shared ones once for each layer that reads them."""
        return sum(one.parameter_bytes for one in self.facts)

    @property
    def activation_bytes(self) -> int:
        """Return the bytes of every tensor that the layers make, together."""
        return sum(one.activation_bytes for one in self.facts)

    @cached_property
    def crossing(self) -> tuple[tuple[str, ...], ...]:
        """[L] tensors that are alive across the boundary after each layer: made (or given) before, read after."""
        last_use = {name: index for index, layer in enumerate(self.graph.layers) for name in layer.inputs}
        last_use |= dict.fromkeys(self.graph.outputs, len(self.graph.layers))
        alive = dict.fromkeys(self.graph.inputs)
        boundaries = []
        for index, layer in enumerate(self.graph.layers):
            alive |= dict.fromkeys(layer.outputs)
            alive = {name: None for name in alive if last_use.get(name, -1) > index}
            boundaries.append(tuple(alive))
        return tuple(boundaries)

    def crossing_bytes(self, layer: int) -> int:
        """Bytes alive across the boundary after a layer, as far as shapes are known."""
        return sum(self.graph.tensors[name].bytes for name in self.crossing[layer] if name in self.graph.tensors)

    def as_fields(self) -> dict[str, Any]:
        """For JSON."""
        layers = [
            asdict(layer)
            | {"crossing": self.crossing[index], "crossing_bytes": self.crossing_bytes(index)}
            | {"reasons": dict(self.reasons[index])}
            for index, layer in enumerate(self.graph.layers)
        ]
        tensors = {name: asdict(info) for name, info in self.graph.tensors.items()}
        names = [device.name for device in self.devices]
        return {
            "inputs": [asdict(one) for one in self.input_specs],
            "outputs": [asdict(one) for one in self.output_specs],
            "mac_count": self.mac_count,
            "parameter_bytes": self.parameter_bytes,
            "activation_bytes": self.activation_bytes,
            "layers": [
                layer | {"mac_count": sum(fact.macs.values())} for layer, fact in zip(layers, self.facts, strict=True)
            ],
            "tensors": tensors,
            "devices": names,
            "notes": list(self.notes),
        }


def find_devices(words: Sequence[str] = (), *, lower: bool = False) -> Selection:
    """Devices that are here, and those that take part.

    Args:
        words: names, devices files or shipped descriptions; none for the default set.
        lower: a budget of errors lets devices of lower precision into the default set.

    Raises:
        UsageError: a word names nothing.
    """
    return select(words, lower=lower)


def examine_machine(words: Sequence[str] = ()) -> tuple[Finding, ...]:
    """Return what this machine offers a compilation, and what stands in its way.

    Args:
        words: names, devices files or shipped descriptions; none for the default set.

    Raises:
        UsageError: a word names nothing.
    """
    return examine(select(words), find_meters())


def inspect(model: PathLike, *, devices: Sequence[str] = (), **options: Unpack[InspectOptions]) -> Inspection:
    """Layers of a model, and which device claims to run which.

    Args:
        model: the model's file, or a bundle's folder for the model before it was cut.
        devices: names, devices files or shipped descriptions; none for every real device of the model's precision.
        **options: see ``InspectOptions``.

    Raises:
        ModelError: the file is refused.
        UsageError: a device or shape does not fit.
    """
    path = Path(model)
    if path.is_dir():
        path = read_bundle(path).original_path
    state = run_passes(configured(INSPECT, options), State(path, select(devices)))
    normalised = state.normalised
    return Inspection(
        state.graph,
        state.selection.chosen,
        state.annotation.reasons,
        notes=(*normalised.defaults, *normalised.notes),
        input_specs=tensor_specs(given_inputs(normalised.model.graph)),
        output_specs=tensor_specs(normalised.model.graph.output),
        facts=layer_facts(state.graph, normalised.model),
    )


def profile(
    model: PathLike,
    *,
    devices: Sequence[str] = (),
    cache: bool = True,
    progress: Progress | None = None,
    note: Note = say_nothing,
    **options: Unpack[ProfileOptions],
) -> Profile:
    """Measure every layer of a model on every device.

    Args:
        model: the model's file.
        devices: names, devices files or shipped descriptions; none for every real device of the model's precision.
        cache: keep measurements, and use kept ones.
        progress: told how far the measuring has come.
        note: told what was assumed.
        **options: see ``ProfileOptions``.

    Raises:
        ModelError: the file is refused, or no device runs some layer.
        UsageError: a device, shape or input does not fit.
        BackendError: a device failed.
        ProfilingInterrupted: Ctrl-C; it holds what was measured until then.
    """
    selection = _select_aloud(devices, note)
    start = State(Path(model), selection, Cache() if cache else None, note, progress)
    given, effort = without_effort(with_paths(options))
    return run_passes(with_effort(configured(PROFILE, given), effort), start).profile


def load_profile(file: PathLike) -> Profile:
    """Read a profile from its file.

    Raises:
        ModelError: the file is wrong; the message names the key.
    """
    return read_profile(file)


def load_plan(file: PathLike) -> Plan:
    """Read a plan from its file.

    Raises:
        ModelError: the file is wrong; the message names the key.
    """
    return read_plan(file)


def plan(profile: Profile | PathLike, request: Request | None = None, constraints: Constraints | None = None) -> Plan:
    """The best plan that the planner finds for a profile.

    Raises:
        ModelError: the profile's file is wrong.
        InfeasibleError: no plan satisfies the constraints.
    """
    measured = profile if isinstance(profile, Profile) else read_profile(profile)
    options = {"request": request or Request(), "constraints": constraints or Constraints()}
    return run_passes(configured(PLAN, options), State(profile=measured)).plan


def plan_front(
    profile: Profile | PathLike, request: Request | None = None, constraints: Constraints | None = None
) -> tuple[Plan, ...]:
    """Every plan of a profile that no other plan beats in both seconds and joules, fastest first.

    Raises:
        ModelError: the profile's file is wrong.
        InfeasibleError: no plan satisfies the constraints.
        UsageError: the profile has no joules.
    """
    measured = profile if isinstance(profile, Profile) else read_profile(profile)
    return profile_plan.plan_front(measured, request or Request(), constraints)


def what_if(
    profile: Profile | PathLike,
    changes: Sequence[str],
    request: Request | None = None,
    constraints: Constraints | None = None,
) -> tuple[Supposed, ...]:
    """The plan of the machine as it is, then of each machine that is supposed.

    Args:
        profile: what was measured, or its file.
        changes: ``npu×2`` (twice as fast; ``x`` and ``*`` do too), ``link×0.5`` and ``link:npu×2`` (copies),
            ``npu+Resize`` (it runs that operator); several at once joined by commas.
        request: what is asked of each plan.
        constraints: what each must keep.

    Raises:
        ModelError: the profile's file is wrong.
        InfeasibleError: the machine as it is has no plan.
        UsageError: a change cannot be read, or changes nothing.
    """
    measured = profile if isinstance(profile, Profile) else read_profile(profile)
    return compare_changes(measured, changes, request or Request(), constraints)


def single_devices(profile: Profile, like: Plan, constraints: Constraints | None = None) -> dict[str, Plan]:
    """The plans of devices that can run the whole model alone, by name, to hold a plan against.

    Args:
        profile: what was measured.
        like: the plan whose objective they are compared under.
        constraints: what they must keep besides.
    """
    constrained = constrain(profile, constraints or Constraints())
    table = cost_table(constrained)
    plans = {one.name: single_device_plan(constrained, one.name, like, table) for one in constrained.devices}
    return {name: plan for name, plan in plans.items() if plan is not None}


def load_scenario(
    scenario: PathLike,
    *,
    devices: Sequence[str] = (),
    cache: bool = True,
    progress: Progress | None = None,
    note: Note = say_nothing,
) -> Instance:
    """A scenario with the costs of its models: profiles are read, models are profiled on the devices.

    Raises:
        ModelError: the scenario, a model or a profile is wrong, or they do not name the same devices.
        UsageError: a device does not fit.
        BackendError: a device failed.
    """
    asked = read_scenario(scenario)

    def profiled(model: Path) -> Profile:
        return profile(model, devices=devices, cache=cache, progress=progress, note=note)

    return build_instance(asked, load_profiles(asked, profiled, has_devices=bool(devices)))


def schedule(
    scenario: Instance | PathLike, options: SchedulingOptions | None = None, note: Note = say_nothing
) -> Scheduled:
    """The schedule of least period multiplier that the scheduler finds for many models on one machine.

    Raises:
        ModelError: the scenario is wrong.
        InfeasibleError: no schedule can run.
        UsageError: there is no such scheduler.
    """
    instance = scenario if isinstance(scenario, Instance) else load_scenario(scenario, note=note)
    return schedule_instance(instance, options, note)


def schedule_site(
    scenario: PathLike,
    output: PathLike,
    *,
    devices: Sequence[str] = (),
    options: SchedulingOptions | None = None,
    situations: bool = False,
    cache: bool = True,
    force: bool = False,
    progress: Progress | None = None,
    note: Note = say_nothing,
) -> tuple[Instance, Scheduled]:
    """Profile, schedule, measure, cut, prove and write all models of a scenario as one site.

    Args:
        scenario: the file; its models must be ONNX models.
        output: the site's folder.
        devices: names, devices files or shipped descriptions; none for the default set.
        options: by which scheduler, how long.
        situations: schedule for the loss of each device too (``pipeline.site.live``).
        cache: keep measurements, and use kept ones.
        force: replace a site that is there.
        progress: told how far the measuring has come.
        note: told what was assumed.

    Raises:
        MosaicError: of the kind that the thing has: model, usage, infeasible, outputs differ, backend.
    """
    refuse_to_replace(output, force=force)
    kept = Cache() if cache else None
    profiled = profile_scenario(read_scenario(scenario), select(devices), kept, note, progress)
    profiled = replace(profiled, slowdowns=measure_slowdowns(profiled.state(0)))
    profiled, instance, scheduled = schedule_measured(profiled, options or SchedulingOptions(), note)

    def write_more(folder: Path) -> None:
        if situations:
            write_situations(profiled, options or SchedulingOptions(), folder, note)

    write_site(profiled, instance, scheduled, Path(output), force=force, more=write_more)
    return instance, scheduled


def serve_scenario(
    site: PathLike,
    *,
    seconds: float = 10.0,
    multiplier: float = 1.0,
    devices: Sequence[str] = (),
    trust: bool = False,
    seed: int = 0,
    check_every: int = 50,
    isolation: Isolation | None = None,
    watch: Watch = nullcontext,
) -> Served:
    """Serve all models of a site for a while: what ran, and what it came to; see ``pipeline.site.served.serve_site``.

    Raises:
        ModelError: the site is damaged.
        UsageError: a device is not here.
        BackendError: a slice cannot be loaded.
    """
    situations = read_situations(Path(site))
    return serve_site(
        situations.pop(frozenset()),
        seconds=seconds,
        situations=situations,
        multiplier=multiplier,
        devices=devices,
        trust=trust,
        seed=seed,
        check_every=check_every,
        isolation=isolation,
        watch=watch,
    )


def compile(
    model: PathLike,
    *,
    output: PathLike | None = None,
    force: bool = False,
    devices: Sequence[str] = (),
    cache: bool = True,
    progress: Progress | None = None,
    note: Note = say_nothing,
    **options: Unpack[CompileOptions],
) -> Bundle:
    """Profile, plan, partition, measure and prove a model, and write the bundle.

    Args:
        model: the model's file.
        output: the bundle's folder; by default ``MODEL.mosaic`` beside the model.
        force: replace a bundle that is there.
        devices: names, devices files or shipped descriptions; none for every real device of the model's precision.
        cache: keep measurements, and use kept ones.
        progress: told how far the measuring has come.
        note: told what was assumed.
        **options: see ``CompileOptions``.

    Raises:
        MosaicError: of the kind that the thing has: model, usage, infeasible, outputs differ, backend.
    """
    folder = free_bundle_folder(model, output, force=force)
    compilation = compile_unwritten(model, devices=devices, cache=cache, progress=progress, note=note, **options)
    return write(compilation, folder, force=force)


def compile_unwritten(
    model: PathLike,
    *,
    devices: Sequence[str] = (),
    cache: bool = True,
    progress: Progress | None = None,
    note: Note = say_nothing,
    **options: Unpack[CompileOptions],
) -> Compilation:
    """Compile without writing; ``write`` makes the bundle of it.

    Args:
        model: the model's file.
        devices: as for ``compile``, like the rest.
        cache: keep measurements, and use kept ones.
        progress: told how far the measuring has come.
        note: told what was assumed.
        **options: see ``CompileOptions``.

    Raises:
        OutputsDifferError: the plan does not compute what the model computes.
        MosaicError: as for ``compile``.
    """
    request = options.get("request")
    selection = _select_aloud(devices, note, lower=request is not None and request.max_error is not None)
    kept = Cache() if cache else None
    compilation = compile_model(Path(model), selection, kept, note, progress, **options)
    for one in (compilation, *compilation.shapes):
        if not one.state.proof.passed:
            words = "; ".join(one.state.proof.failures[:3])
            raise OutputsDifferError(
                f"{Path(model).name}: the partitioned model is not right: {words}", "nothing was written"
            )
    return compilation


def write(compilation: Compilation, folder: PathLike, *, force: bool = False) -> Bundle:
    """Write the bundle of a compilation.

    Raises:
        UsageError: the folder cannot be written, or is there and ``force`` is off.
    """
    deliver(compilation, Path(folder), force=force)
    return bind_bundle(read_bundle(folder), trust=True)


def bundle_folder(model: PathLike, output: PathLike | None = None) -> Path:
    """Return the path of a bundle: the given folder, or ``MODEL.mosaic`` beside the model."""
    return Path(model).with_suffix(".mosaic") if output is None else Path(output)


def free_bundle_folder(model: PathLike, output: PathLike | None = None, *, force: bool = False) -> Path:
    """Return where a bundle goes, before anything is measured for it.

    Raises:
        UsageError: something else is there, or the folder above cannot take it.
    """
    folder = bundle_folder(model, output)
    given = Path(model)
    refuse_target(folder, force=force, least_bytes=given.stat().st_size if given.is_file() else 0)
    return folder


def load(
    source: Bundle | PathLike,
    *,
    devices: Sequence[str] = (),
    input_shapes: ShapeChoices | None = None,
    options: SessionOptions | None = None,
    trust: bool = False,
) -> Session | ShapedSession:
    """Load a bundle once, to be run many times; or a plain model, uncut, on one device.

    The session takes ``run(feeds)`` or ONNX Runtime's ``run(output_names, feeds)``, and ``run_async`` for a future. Any
    thread may call it, and several requests may be under way: see ``runtime.session.Session``. Close it, or use it as a
    context manager.

    Args:
        source: a bundle, its folder, or a model's file.
        devices: of a bundle: devices of this machine that take the place of the bundle's by name (names, devices files
            or shipped descriptions); of a plain model: the device that runs it, none for the first of the default set.
        input_shapes: shapes of a plain model's dynamic inputs.
        options: how many requests may be under way and wait, and whose workers run them.
        trust: take what the bundle says of its devices, though it may name libraries to load and folders to write.

    Raises:
        ModelError: the bundle or model is wrong.
        UsageError: a device of the bundle is not here, or the arguments do not fit.
        BackendError: a slice cannot be loaded.
    """
    if not isinstance(source, Bundle) and Path(source).is_file():
        selection = _one_device(devices)
        return load_model(Path(source), selection, only_combination(input_shapes or {}), options)[0]
    if input_shapes:
        raise UsageError("a bundle's input shapes were settled when it was compiled", "leave them out")
    return load_session(_opened(source, devices, trust=trust), options)


def _one_device(words: Sequence[str]) -> Selection:
    """The device that runs a plain model.

    Raises:
        UsageError: several are named, or one that is not here.
    """
    selection = select(words)
    if words and len(selection.chosen) != 1:
        names = ", ".join(device.name for device in selection.chosen)
        raise UsageError(f"a plain model runs on one device, and -d names {names}", "name one, or compile the model")
    return selection


def run(
    source: Bundle | PathLike,
    inputs: Mapping[str, Array] | Array | PathLike | None = None,
    *,
    seed: int = 0,
    iterations: int = 1,
    warmup: int | None = None,
    devices: Sequence[str] = (),
    input_shapes: ShapeChoices | None = None,
    trust: bool = False,
    options: SessionOptions | None = None,
) -> RunResult:
    """Load and run a bundle, or a plain model on one device; ``load`` keeps it for further runs.

    Args:
        source: a bundle, its folder, or a model's file.
        inputs: arrays by name (the array alone where there is one input), or a .npz or .npy file; None makes them up
            from ``seed``.
        seed: of made-up inputs.
        iterations: timed runs.
        warmup: runs before those; None for some, for about a second at most.
        devices: of a bundle: devices of this machine that take the place of the bundle's by name (names, devices files
            or shipped descriptions); of a plain model: the device that runs it, none for the first of the default set.
        input_shapes: shapes of a plain model's dynamic inputs.
        trust: take what the bundle says of its devices, though it may name libraries to load and folders to write.
        options: what is isolated, limited, validated, and falls back.

    Raises:
        ModelError: the bundle, model or inputs are wrong.
        UsageError: a device of the bundle is not here, or the arguments do not fit.
        BackendError: a device failed.
    """
    if iterations < 1:
        raise UsageError(f"{iterations} iterations: there is nothing to run", "give at least one")
    if not isinstance(source, Bundle) and Path(source).is_file():
        shapes, given = only_combination(input_shapes or {}), _arrays(inputs)
        plain, model = load_model(Path(source), _one_device(devices), shapes, options, given)
        with plain:
            return run_repeatedly(plain, _inputs_of(model, inputs, seed), iterations, warmup)
    bundle = _opened(source, devices, trust=trust)
    fed = bundle_inputs(bundle, inputs, seed)
    with load(bundle, input_shapes=input_shapes, options=options) as session:
        return run_repeatedly(session, fed, iterations, warmup)


def _arrays(inputs: Mapping[str, Array] | Array | PathLike | None) -> Mapping[str, Array]:
    """Return given inputs by name, the empty name for an array alone; none where they are made up."""
    if inputs is None or isinstance(inputs, Mapping):
        return inputs or {}
    return {"": inputs} if isinstance(inputs, np.ndarray) else read_arrays(Path(inputs))


def bench(
    bundle: Bundle | PathLike,
    inputs: Mapping[str, Array] | PathLike | None = None,
    *,
    seed: int = 0,
    iterations: int = 100,
    warmup: int = 10,
    devices: Sequence[str] = (),
    trust: bool = False,
) -> Benchmark:
    """Time a bundle: latencies, throughput, slices and transfers measured beside predicted.

    Args:
        bundle: the bundle or its folder.
        inputs: arrays by name, or a .npz or .npy file; None makes them up from ``seed``.
        seed: of made-up inputs.
        iterations: timed runs.
        warmup: runs before those.
        devices: devices of this machine that take the place of the bundle's by name: names, devices files or shipped
            descriptions.
        trust: take what the bundle says of its devices, though it may name libraries to load and folders to write.

    Raises:
        ModelError: the bundle or the inputs are wrong.
        UsageError: a device of the bundle is not here, or there is nothing to time.
        BackendError: a device failed.
    """
    if iterations < 1:
        raise UsageError(f"{iterations} iterations: there is nothing to time", "give at least one")
    opened = _opened(bundle, devices, trust=trust)
    return benchmark(opened, bundle_inputs(opened, inputs, seed), iterations, warmup)


def bench_throughput(
    bundle: Bundle | PathLike,
    inputs: Mapping[str, Array] | PathLike | None = None,
    *,
    seed: int = 0,
    seconds: float = 3.0,
    devices: Sequence[str] = (),
    trust: bool = False,
) -> ThroughputBenchmark:
    """Measure requests a second at rising load, beside the prediction, one session, and OpenVINO's throughput hint.

    Args:
        bundle: the bundle or its folder.
        inputs: of every request: arrays by name, or a .npz or .npy file; None makes them up from ``seed``.
        seed: of made-up inputs.
        seconds: how long each figure is measured.
        devices: devices of this machine that take the place of the bundle's by name.
        trust: take what the bundle says of its devices, though it may name libraries to load and folders to write.

    Raises:
        ModelError: the bundle or the inputs are wrong.
        UsageError: a device of the bundle is not here.
        BackendError: a device failed.
    """
    opened = replace(_opened(bundle, devices, trust=trust), shapes=())
    return throughput_benchmark(opened, bundle_inputs(opened, inputs, seed), seconds)


@dataclass(frozen=True)
class Report:
    """A page that was written, and its first words."""

    file: Path
    headline: Headline


def report(
    source: PathLike,
    output: PathLike,
    *,
    profile: PathLike | None = None,
    measure: bool = False,
    time_limit_s: float = 10.0,
    force: bool = False,
    devices: Sequence[str] = (),
    trust: bool = False,
) -> Report:
    """Write a plan as one HTML page that needs no network: graph, timelines, layers, memory, what would help.

    Args:
        source: a bundle's folder, a plan's file, or a profile's, which is planned for latency.
        output: the page.
        profile: of a plan's file; None takes ``profile.json`` beside it.
        measure: run the bundle here, for the timeline of a measured run.
        time_limit_s: for planning again with the operators that devices lack.
        force: replace a file that is there.
        devices: of a bundle that is measured: devices of this machine that take the place of its own by name.
        trust: take what the bundle says of its devices, though it may name libraries to load and folders to write.

    Raises:
        ModelError: a file is wrong.
        UsageError: the output is there already, Bokeh is not installed, or ``measure`` is asked of no bundle.
        BackendError: a device failed.
    """
    refuse_to_replace(output, force=force)
    need_library()
    subject = read_subject(Path(source), None if profile is None else Path(profile))
    trace = None
    if measure:
        if subject.bundle is None:
            raise UsageError(f"{source} is no bundle: there is nothing to run", "leave out --measure")
        runs = bench(subject.bundle, iterations=20, warmup=3, devices=devices, trust=trust).traces
        trace = sorted(runs, key=lambda one: one.seconds)[len(runs) // 2]
    content = content_of(subject, time_limit_s=time_limit_s, trace=trace)
    write_page(content, Path(output))
    return Report(Path(output), headline_of(content))


def _opened(bundle: Bundle | PathLike, devices: Sequence[str], *, trust: bool) -> Bundle:
    """The bundle, read and bound to this machine's devices."""
    return bind_bundle(bundle if isinstance(bundle, Bundle) else read_bundle(bundle), devices, trust=trust)


def bundle_inputs(
    bundle: Bundle, inputs: Mapping[str, Array] | Array | PathLike | None, seed: int = 0
) -> Mapping[str, Array]:
    """Return the inputs of a bundle's run: given arrays, a file, or made up.

    Raises:
        ModelError: they are not the model's inputs.
        UsageError: one array, and the model has several inputs.
    """
    if isinstance(inputs, Mapping | np.ndarray):
        return as_feeds(inputs, bundle.input_specs)
    return _shape_of_inputs(bundle, inputs, seed)[1]


def _shape_of_inputs(
    bundle: Bundle, inputs: Mapping[str, Array] | Array | PathLike | None, seed: int
) -> tuple[Bundle, Mapping[str, Array]]:
    """The bundle as it is for the shapes of its inputs, and the inputs.

    Raises:
        ModelError: they are the inputs of none of its shapes; said of the first.
    """
    refusal: ModelError | None = None
    for one in (replace(bundle, shapes=()), *bundle.shapes):
        try:
            return one, _inputs_of(one.original(), inputs, seed)
        except ModelError as error:
            refusal = refusal or error
    raise refusal or ModelError(f"{bundle.folder} holds no model")


def _inputs_of(
    model: onnx.ModelProto, inputs: Mapping[str, Array] | Array | PathLike | None, seed: int
) -> Mapping[str, Array]:
    """Given arrays, a file, or made up."""
    if isinstance(inputs, Mapping | np.ndarray):
        return as_feeds(inputs, tensor_specs(given_inputs(model.graph)))
    return make_inputs(model, seed) if inputs is None else read_inputs(Path(inputs), model)


def verify(
    bundle: Bundle | PathLike,
    *,
    inputs: PathLike | None = None,
    seed: int = 0,
    progress: VerifyProgress | None = None,
    devices: Sequence[str] = (),
    trust: bool = False,
) -> VerifyReport:
    """Every slice and the whole of a bundle against the original, unoptimised model.

    Args:
        bundle: the bundle or its folder.
        inputs: a .npz or .npy file; None makes them up from ``seed``.
        seed: of made-up inputs.
        progress: told after every slice.
        devices: devices of this machine that take the place of the bundle's by name: names, devices files or shipped
            descriptions.
        trust: take what the bundle says of its devices, though it may name libraries to load and folders to write.

    Raises:
        ModelError: the bundle or the inputs are wrong.
        UsageError: a device of the bundle is not here.
        BackendError: the reference cannot run.
    """
    opened = _opened(bundle, devices, trust=trust)
    if not opened.shapes or inputs is not None:
        return verify_bundle(*_shape_of_inputs(opened, inputs, seed), progress)
    every = (replace(opened, shapes=()), *opened.shapes)
    return merged_reports([verify_bundle(one, bundle_inputs(one, None, seed), progress) for one in every])


def export(
    bundle: Bundle | PathLike,
    output: PathLike,
    *,
    slices: bool = False,
    keep_tags: bool = False,
    force: bool = False,
) -> Exported:
    """Write what any ONNX Runtime of the told version runs, without mosaic-onnx.

    Args:
        bundle: the bundle or its folder.
        output: the file; with ``slices`` a new folder.
        slices: a file a slice, their order, and runners in Python and C++; else one file.
        keep_tags: keep in the one file what says where slices run (device configurations, metadata): IR version 11.
        force: replace a file that is there.

    Raises:
        ModelError: the bundle is damaged.
        UsageError: the output is there already, or cannot be written.
    """
    opened = read_bundle(bundle) if not isinstance(bundle, Bundle) else bundle
    if slices:
        return export_slices(opened, Path(output))
    refuse_to_replace(output, force=force)
    return export_model(opened, Path(output), keep_tags=keep_tags)


def annotate(model: PathLike, profile: Profile, plan: Plan, output: PathLike, *, force: bool = False) -> Annotated:
    """Write a model whose nodes are tagged with a plan's devices, for stock ONNX Runtime.

    Args:
        model: the model that was profiled.
        profile: what the plan was made from.
        plan: where its layers run.
        output: the file to write.
        force: replace it where it is there.

    Returns:
        The files, and the session option ``session.layer_assignment_settings`` with its value.

    Raises:
        ModelError: the model cannot be read, or the plan is not of it.
        UsageError: the output is there already, or cannot be written.
    """
    refuse_to_replace(Path(output), force=force)
    return annotate_model(Path(model), profile, plan, Path(output))


def plan_in_profile(profile: Profile, plan: Plan, constraints: Constraints | None = None) -> Plan:
    """Return the slices of a plan with their costs in another profile of the same layers: of one shape of several.

    Raises:
        InfeasibleError: they break a constraint there.
    """
    constrained = constrain(profile, constraints or Constraints())
    return plan_of_slices(constrained, request_of(plan), plan.method, proposal_of(constrained, plan))


def mix_shapes(profiles: Sequence[Profile | PathLike], weights: Sequence[float]) -> Profile:
    """Return one profile of several shapes of one model: one placement, the weighted sum of their costs.

    Args:
        profiles: one for each shape, or their files.
        weights: how often each shape runs.

    Raises:
        ModelError: a file is wrong.
        UsageError: the profiles are not of one model on the same devices, or the weights are not one for each.
    """
    if len(profiles) != len(weights):
        raise UsageError(f"{len(profiles)} shapes have {len(weights)} weights", "give one weight for each shape")
    read = [one if isinstance(one, Profile) else read_profile(one) for one in profiles]
    return mixed_shapes([WeighedShape(one, weight) for one, weight in zip(read, weights, strict=True)])


def write_arrays(arrays: Mapping[str, Array], path: PathLike) -> None:
    """Write arrays as .npz (or one array as .npy), whole or not at all.

    Raises:
        ModelError: a .npy file is asked for and there are several arrays.
    """
    buffer = io.BytesIO()
    if Path(path).suffix == ".npy":
        if len(arrays) != 1:
            raise ModelError(f"{path}: a .npy file holds one array, there are {len(arrays)}", "name a .npz file")
        np.save(buffer, next(iter(arrays.values())), allow_pickle=False)
    else:
        np.savez(buffer, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})
    write_atomically(path, buffer.getvalue())


def _select_aloud(devices: Sequence[str], note: Note, *, lower: bool = False) -> Selection:
    """The devices of a command, told first: who takes part, who does not, and why."""
    selection = select(devices, lower=lower)
    for line in participation(selection):
        note(line)
    return selection
