"""Frames on real workers: order, drops, changes while it runs, statistics, traces."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.runtime.workers import Workers
from mosaic_onnx.scenarios.scenario import Group, ModelEntry
from mosaic_onnx.scenarios.serving.frame import Frame, FrameDropped, SliceSpan
from mosaic_onnx.scenarios.serving.model_runner import ModelRunner
from mosaic_onnx.scenarios.serving.perfetto import scenario_trace
from mosaic_onnx.scenarios.serving.server import ScenarioServer, ServingOrder
from mosaic_onnx.scenarios.serving.statistics import Tally

MODEL = """
<ir_version: 10, opset_import: ["" : 17]>
agraph (float[8] x) => (float[8] y) { a = Relu(x)  b = Neg(a)  y = Abs(b) }
"""


def group(name: str, period_s: float, deadline_s: float = 10.0) -> Group:
    return Group(name, (ModelEntry("m", Path("m"), is_profile=False),), period_s, deadline_s)


class SlowRunner(ModelRunner):
    """A model that takes a fixed time on one device, without ONNX."""

    def __init__(self, name: str, workers: Workers, device: str, seconds: float) -> None:
        self.name, self.devices = name, (device,)
        self._shared, self._seconds = workers, seconds
        self._left = 0
        self._changed = threading.Condition()
        self.is_closed = False

    def submit(self, frame: Frame, priority: int, started_s: float, on_over: object) -> None:
        from mosaic_onnx.runtime.workers import Rank

        def job() -> None:
            start_s = time.perf_counter() - started_s
            try:
                frame.begin()
                time.sleep(self._seconds)
                frame.completion_s = time.perf_counter() - started_s
                frame.spans = (SliceSpan(0, self.devices[0], start_s, frame.completion_s),)
            except FrameDropped:
                pass
            with self._changed:
                self._left -= 1
                self._changed.notify_all()
            on_over(frame)  # type: ignore[operator]

        with self._changed:
            self._left += 1
        self._shared[self.devices[0]].submit(Rank(priority, self._shared.next_number(), 0), job)

    def drop(self, frame: Frame) -> bool:
        return frame.drop()

    def close(self) -> None:
        with self._changed:
            while self._left:
                self._changed.wait()
        self.is_closed = True


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers(["a", "b"])
    yield made
    made.close()


def test_a_frame_that_has_begun_is_not_dropped_and_one_that_was_dropped_does_not_begin() -> None:
    begun, waiting = Frame("g/m", 0, 0.0, 1.0), Frame("g/m", 1, 0.0, 1.0)
    begun.begin()
    assert not begun.drop()
    assert waiting.drop()
    with pytest.raises(FrameDropped):
        waiting.begin()


def test_late_frames_are_dropped_and_the_rest_completes(workers: Workers) -> None:
    runner = SlowRunner("g/m", workers, "a", 0.05)
    with ScenarioServer([group("g", 0.02)], {"g/m": runner}, ServingOrder(("g/m",)), workers, ["a"]) as server:
        server.serve_for(0.4)
        statistics = server.statistics().models[0]
    assert statistics.dropped_count > 0
    assert statistics.completed_count > 0
    assert statistics.frame_count == statistics.dropped_count + statistics.completed_count
    assert runner.is_closed


def test_queued_frames_are_kept_where_the_rule_says_never(workers: Workers) -> None:
    runner = SlowRunner("g/m", workers, "a", 0.02)
    order = ServingOrder(("g/m",))
    with ScenarioServer([group("g", 0.01)], {"g/m": runner}, order, workers, ["a"], drop="never") as server:
        server.serve_for(0.1)
        assert all(not frame.is_dropped for frame in server.frames)
        assert [frame.number for frame in server.frames] == list(range(len(server.frames)))


def test_of_frames_that_arrive_together_the_urgent_one_ends_first(workers: Workers) -> None:
    runners = {name: SlowRunner(name, workers, "a", 0.01) for name in ("fast/m", "slow/m")}
    groups = [group("fast", 0.025), group("slow", 0.025)]
    order = ServingOrder(("fast/m", "slow/m"))
    with ScenarioServer(groups, runners, order, workers, ["a"]) as server:
        server.serve_for(0.5)
        ends = {(frame.model, frame.number): frame.completion_s for frame in server.frames}
    pairs = [(end, ends.get(("slow/m", number))) for (model, number), end in ends.items() if model == "fast/m"]
    both = [(fast, slow) for fast, slow in pairs if fast is not None and slow is not None]
    assert both
    assert all(fast < slow for fast, slow in both)


def test_models_and_periods_change_without_losing_frames_that_have_begun(workers: Workers) -> None:
    old, new, other = (
        SlowRunner(name, workers, device, 0.03) for name, device in (("g/m", "a"), ("g/m", "b"), ("h/m", "b"))
    )
    with ScenarioServer([group("g", 0.05)], {"g/m": old}, ServingOrder(("g/m",)), workers, ["a", "b"]) as server:
        server.start()
        time.sleep(0.12)
        order = ServingOrder(("h/m", "g/m"))
        server.change([group("g", 0.04), group("h", 0.06)], {"g/m": new, "h/m": other}, order)
        time.sleep(0.3)
        server.stop()
        frames = server.frames
        with pytest.raises(UsageError, match="x/m has no slices"):
            server.change([group("x", 1.0)], {}, ServingOrder(()))
    assert {frame.spans[0].device for frame in frames if frame.model == "g/m" and frame.spans} == {"a", "b"}
    assert any(frame.model == "h/m" for frame in frames)
    numbers = sorted(frame.number for frame in frames if frame.model == "g/m")
    assert numbers == list(range(len(numbers)))
    assert all(frame.completion_s is not None or frame.is_dropped for frame in frames)


def test_orders_rank_frames_as_their_policy_says() -> None:
    early, late = Frame("a/m", 0, 0.0, 0.5), Frame("b/m", 0, 0.0, 0.4)
    by = {policy: ServingOrder(("a/m", "b/m"), policy) for policy in ("priority", "fifo", "edf")}  # type: ignore[arg-type]
    assert by["priority"].rank(early) < by["priority"].rank(late)
    assert by["edf"].rank(early) > by["edf"].rank(late)
    assert by["fifo"].rank(early) == by["fifo"].rank(late)


def test_statistics_and_trace_tell_what_frames_did() -> None:
    done, missed = Frame("g/m", 0, 0.0, 0.5), Frame("g/m", 1, 1.0, 1.5)
    done.completion_s, done.spans = 0.6, (SliceSpan(0, "a", 0.1, 0.6),)
    missed.drop()
    told = Tally([done, missed]).statistics(["g/m"], ["a", "b"], 2.0)
    model = told.models[0]
    assert (model.frame_count, model.completed_count, model.late_count, model.dropped_count) == (2, 1, 1, 1)
    assert (model.rate_hz, model.p50_s, model.miss_share, model.drop_share) == (0.5, 0.6, 1.0, 0.5)
    assert told.as_fields()["models"][0]["drop_share"] == 0.5
    assert told.utilisation == {"a": 0.25, "b": 0.0}
    events = [
        event for event in scenario_trace([done, missed], ["g/m"], ["a", "b"])["traceEvents"] if event["ph"] == "X"
    ]
    assert [(event["tid"], event["ts"], event["args"]["late"]) for event in events] == [(1, pytest.approx(1e5), True)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of two small models on one CPU device."""
    from mosaic_onnx import api
    from mosaic_onnx.scenarios.search.genetic import SearchOptions
    from mosaic_onnx.scenarios.solve import SchedulingOptions

    folder = tmp_path_factory.mktemp("site")
    for name in ("one", "two"):
        onnx.save(parser.parse_model(MODEL), folder / f"{name}.onnx")
    (folder / "scenario.toml").write_text(
        'schema = "mosaic-onnx/scenario/1"\n[[groups]]\nname = "g"\nperiod_ms = 20\nmodels = ["one.onnx", "two.onnx"]\n'
    )
    options = SchedulingOptions(search=SearchOptions(time_limit_s=1.0, most_rounds=0), worker_count=1)
    api.schedule_site(folder / "scenario.toml", folder / "site.mosaic", devices=["cpu"], options=options, cache=False)
    return folder / "site.mosaic"


def test_a_site_serves_right_outputs(site: Path) -> None:
    from mosaic_onnx import api

    served = api.serve_scenario(site, seconds=0.5, check_every=1)
    assert [one.name for one in served.statistics.models] == ["g/one", "g/two"]
    for one in served.statistics.models:
        assert one.completed_count > 0
        assert one.wrong_count == one.failed_count == 0
    assert served.trace()["traceEvents"]


def test_a_schedule_is_rehearsed_before_it_is_written(site: Path) -> None:
    from mosaic_onnx.pipeline.site.folder import read_site

    for bundle in read_site(site).bundles.values():
        company = bundle.profile.meta["company"]
        assert isinstance(company, dict)
        assert company["cpu"] >= 1.0


def test_a_wrong_output_is_seen(site: Path) -> None:
    from mosaic_onnx.loading.inputs import make_inputs
    from mosaic_onnx.pipeline.open_bundle import bind_bundle
    from mosaic_onnx.pipeline.site.folder import read_site
    from mosaic_onnx.pipeline.site.serve import load_bundle

    bundle = bind_bundle(next(iter(read_site(site).bundles.values())))
    workers = Workers([device.name for device in bundle.devices])
    inputs = make_inputs(bundle.original(), 0)
    runner = ModelRunner("g/one", load_bundle(bundle), workers, inputs, check_every=1)
    runner._expected = {name: np.full_like(array, 7) for name, array in runner._expected.items()}
    over = threading.Event()
    frame = Frame("g/one", 0, 0.0, 1.0)
    runner.submit(frame, 0, time.perf_counter(), lambda _: over.set())
    assert over.wait(10)
    runner.close()
    workers.close()
    assert frame.is_wrong
    assert frame.completion_s is not None


def test_a_site_that_was_tampered_with_is_refused(site: Path, tmp_path: Path) -> None:
    import shutil

    from mosaic_onnx.pipeline.site.folder import read_site

    broken = tmp_path / "broken.mosaic"
    shutil.copytree(site, broken)
    text = (broken / "site.json").read_text()
    for old, new, words in (
        ("models/000.mosaic", "../elsewhere", "outside the site"),
        ('"g/one"', '"g/none"', "priority"),
        ('"drop":', '"extra": 1, "drop":', "extra: unknown key"),
    ):
        (broken / "site.json").write_text(text.replace(old, new))
        with pytest.raises(ModelError, match=words):
            read_site(broken)


def test_scaling_periods_scales_deadlines() -> None:
    from mosaic_onnx.pipeline.site.serve import scaled

    one = scaled([replace(group("g", 2.0, 4.0), jitter_s=1.0)], 0.5)[0]
    assert (one.period_s, one.deadline_s, one.jitter_s) == (1.0, 2.0, 1.0)


def test_a_long_run_counts_all_frames_and_keeps_the_last(workers: Workers) -> None:
    runner = SlowRunner("g/m", workers, "a", 0.0)
    order = ServingOrder(("g/m",))
    with ScenarioServer([group("g", 0.005)], {"g/m": runner}, order, workers, ["a"], kept_frame_count=3) as server:
        server.serve_for(0.2)
        frames, counted = server.frames, server.statistics().models[0].frame_count
    assert len(frames) == 3 < counted
    assert [frame.number for frame in frames] == [counted - 3, counted - 2, counted - 1]
