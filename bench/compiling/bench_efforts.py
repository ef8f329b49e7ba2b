"""The cost and gain of each effort on ten models, against the compilation as it was before there were efforts.

All compilations of a model run one after the other in turn, cold, and what they deliver is then timed interleaved.
Beside them: how good the estimate of the time left was. A model takes a minute or two, all ten about twelve, so figures
are kept as records: a call goes on with the models that are missing, for as long as ``MOSAIC_BENCH_SECONDS`` says. The
thorough effort, which takes longer than all others together, is measured on one model only.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench.measuring import interleaved
from bench.records import Records
from bench.report import Row
from bench.workloads import Workload, classic, corpus, paper
from mosaic_onnx.cli.terminal.progress import COMPILE_STAGES, expected
from mosaic_onnx.cli.terminal.remaining import INSIDE, Remaining
from mosaic_onnx.core.errors import MosaicError
from mosaic_onnx.core.progress import Step
from mosaic_onnx.discovery.selection import select
from mosaic_onnx.loading.children import Children
from mosaic_onnx.passes.base import run_passes
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.compilation import Compilation
from mosaic_onnx.pipeline.delivery import deliver
from mosaic_onnx.pipeline.efforts import EFFORTS, Effort, with_effort
from mosaic_onnx.pipeline.options import compile_passes
from mosaic_onnx.planning import contest, time_plan
from mosaic_onnx.profiling.device_profiler import ProfilingEffort
from mosaic_onnx.profiling.measuring.timing import TimeBudget
from mosaic_onnx.profiling.whole_plans.plans_to_run import Machine
from mosaic_onnx.runtime.executor import open_program

BEFORE = "before"
"""The fixed repetitions and rounds of every compilation before there were efforts."""
EFFORTS_MEASURED: dict[str, Effort] = {
    BEFORE: Effort(
        profiling=ProfilingEffort(TimeBudget(0.03), TimeBudget(1.0), alone_s=6.0, levels_s=1.0, looks_again="always"),
        running=time_plan.Effort(seconds=1.0),
        contest=contest.Effort(stop=None, budget_s=8.0, repeat_count=3),
        feedback_s=float("inf"),
        least_gain=0.0,
    ),
    **EFFORTS,
}
QUICK_BAR_S = 5.0
NORMAL_BAR = 0.5
DELIVERED_BAR = 1.02
WITHIN = 2.0
"""An estimate of the time left is good within this factor."""
FROM_SHARE = 0.2
"""From this share of the time on."""
SAMPLE_S = 0.2
ROUNDS = 15
THOROUGH_ON = ("squeezenet",)
"""Models that are compiled at the thorough effort too."""
CLASSIC = ("squeezenet", "resnet50", "inception_v1", "shufflenet", "densenet121")
PAPER = ("mobilenet_v2_1.0", "mnasnet_0.5")
CORPUS = ("yolox_nano", "vespa_transformer_mlm", "twinlitenet_fp32")

Json = dict[str, Any]


@dataclass
class Watcher:
    """Notes when each pass began, and the estimates on the way, as a user sees them: a few times a second."""

    remaining: Remaining = field(default_factory=lambda: Remaining(expected(COMPILE_STAGES)))
    started_s: float = field(default_factory=time.monotonic)
    begun: list[tuple[str, float]] = field(default_factory=list)
    estimates: list[tuple[float, float]] = field(default_factory=list)

    def __call__(self, step: Step) -> None:
        now_s = time.monotonic() - self.started_s
        self.remaining.tell(step)
        name = INSIDE.get(step.stage, step.stage)
        if name in COMPILE_STAGES and (not self.begun or self.begun[-1][0] != name):
            self.begun.append((name, now_s))

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Note the estimate every ``SAMPLE_S`` while something runs."""
        ended = threading.Event()

        def sample() -> None:
            while not ended.wait(SAMPLE_S):
                self.estimates.append((time.monotonic() - self.started_s, self.remaining.left_s))

        sampler = threading.Thread(target=sample, daemon=True)
        sampler.start()
        try:
            yield
        finally:
            ended.set()
            sampler.join()

    def stage_s(self, total_s: float) -> dict[str, float]:
        """Return the seconds of each pass."""
        ends = [began_s for _, began_s in self.begun[1:]] + [total_s]
        found: dict[str, float] = {}
        for (name, began_s), end_s in zip(self.begun, ends, strict=True):
            found[name] = found.get(name, 0.0) + end_s - began_s
        return found

    def good_share(self, total_s: float) -> float:
        """Return the share of the time from ``FROM_SHARE`` on in which the estimate was good."""
        last_s = total_s - 1.0  # the last second is a matter of rounding
        seen = [
            (left_s, total_s - now_s) for now_s, left_s in self.estimates if FROM_SHARE * total_s <= now_s <= last_s
        ]
        good = [true_s / WITHIN <= guess_s <= true_s * WITHIN for guess_s, true_s in seen]
        return sum(good) / len(good) if good else 1.0


def run(quick: bool) -> list[Row]:
    records = Records.of("efforts", quick=quick)
    until_s = time.monotonic() + float(os.environ.get("MOSAIC_BENCH_SECONDS", "inf"))
    with tempfile.TemporaryDirectory() as name:
        for model in _models(Path(name), quick):
            if time.monotonic() < until_s:
                records.once(model.name, lambda model=model: _measured(model, len(records.known())))
    return [row for name, one in records.known().items() for row in _rows(name, one)]


def _models(folder: Path, quick: bool) -> Iterator[Workload]:
    yield from classic(CLASSIC[:1] if quick else CLASSIC, folder)
    if not quick:
        yield from paper(PAPER, folder)
        yield from corpus(CORPUS)


def _measured(model: Workload, turn: int) -> Json:
    """Compile at every effort, then time what they deliver in turn; an error is kept too."""
    try:
        return _compared(model, turn)
    except MosaicError as error:
        return {"error": error.message}


def _compared(model: Workload, turn: int) -> Json:
    names = [name for name in EFFORTS_MEASURED if name != "thorough" or model.name in THOROUGH_ON]
    names = names[turn % len(names) :] + names[: turn % len(names)]
    found: Json = {}
    with ExitStack() as stack:
        calls = {}
        for name in names:
            state, figures = _compiled(model, EFFORTS_MEASURED[name])
            found[name] = figures
            delivered = state.delivered
            program = open_program(
                delivered.tuned,
                delivered.plan,
                {**state.selection.by_name, **delivered.devices},
                state.selection.backends,
                inputs=tuple(state.inputs),
                outputs=state.outputs,
            )
            calls[name] = partial(stack.enter_context(program).run, state.inputs)
        timings = interleaved(calls, ROUNDS)
        for name in names:
            ratio = timings.ratio(name, BEFORE)
            found[name] |= {"median_s": timings.median_s(name), "ratio": [ratio.value, ratio.low, ratio.high]}
    return found


def _compiled(model: Workload, effort: Effort) -> tuple[State, Json]:
    """Compile without a cache, and write the bundle."""
    selection = select()
    watcher = Watcher(Remaining(expected(COMPILE_STAGES, effort.profiling.name)))
    passes = with_effort(compile_passes({}), effort)
    began_s = time.monotonic()
    running = Machine(selection.by_name, selection.backends).with_child()
    with watcher.sampling(), running, Children(ahead=True) as children:
        state = run_passes(passes, State(model.path, selection, progress=watcher, children=children))
    ended_s = time.monotonic() - began_s
    with tempfile.TemporaryDirectory() as folder:
        deliver(Compilation(state, passes), Path(folder) / "out.mosaic")
    figures = {
        "compile_s": time.monotonic() - began_s,
        "winner": state.contest.winner,
        "good_share": watcher.good_share(ended_s),
        "stages": watcher.stage_s(ended_s),
    }
    return state, figures


def _rows(name: str, one: Mapping[str, Any]) -> Iterator[Row]:
    if "error" in one:
        yield Row(f"{name}: not compiled", float("nan"), "s", note=one["error"])
        return
    before_s = one[BEFORE]["compile_s"]
    for effort in (name for name in EFFORTS_MEASURED if name in one):
        found = one[effort]
        share = found["compile_s"] / before_s
        bar = QUICK_BAR_S if effort == "quick" and name == "resnet50" else None
        if effort == "normal":
            bar = NORMAL_BAR * before_s
        stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in found["stages"].items() if seconds >= 0.05)
        yield Row(f"{name}: compile, {effort}", found["compile_s"], "s", bar, BEFORE, share, note=f"{stages} s")
        if effort != BEFORE:
            value, low, high = found["ratio"]
            bar = DELIVERED_BAR if effort != "quick" else None
            words = f"{found['median_s'] * 1e3:.3f} ms; delivered: {found['winner']}; before: {one[BEFORE]['winner']}"
            yield Row(f"{name}: delivered, {effort}", value, "ratio", bar, BEFORE, value, (low, high), words)
        if effort == "normal":
            note = (
                f"of the time from {FROM_SHARE:.0%} on, the estimate of what is left was within a factor of {WITHIN:g}"
            )
            yield Row(f"{name}: good estimates", found["good_share"], "share", note=note)
