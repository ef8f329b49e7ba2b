"""Changes while a site is served: periods, models, a device that goes and comes back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
import pytest
from onnx import parser

from mosaic_onnx import api
from mosaic_onnx.backends.base import Array, Place, Runner, SliceModel
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.files.device_file import write_devices
from mosaic_onnx.pipeline.site.live import LiveSite, ServingOptions
from mosaic_onnx.pipeline.site.situations import read_situations
from mosaic_onnx.scenarios.search.genetic import SearchOptions
from mosaic_onnx.scenarios.solve import SchedulingOptions
from tests.unit.scenarios.test_serving import MODEL

pytestmark = pytest.mark.slow
_PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of two models on two devices of one thread each, with schedules for the loss of either."""
    folder = tmp_path_factory.mktemp("changes")
    for name in ("one", "two"):
        onnx.save(parser.parse_model(MODEL), folder / f"{name}.onnx")
    (folder / "scenario.toml").write_text(
        'schema = "mosaic-onnx/scenario/1"\n[[groups]]\nname = "g"\nperiod_ms = 20\nmodels = ["one.onnx", "two.onnx"]\n'
    )
    devices = [Device(name, "onnxruntime", options={"threads": 1}) for name in ("a", "b")]
    write_devices(devices, folder / "devices.toml")
    options = SchedulingOptions(search=SearchOptions(time_limit_s=1.0, most_rounds=0), worker_count=1)
    words = [str(folder / "devices.toml")]
    api.schedule_site(
        folder / "scenario.toml", folder / "site.mosaic", devices=words, options=options, situations=True, cache=False
    )
    return folder / "site.mosaic"


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for something that must happen sooner or later."""
    end_s = time.monotonic() + _PATIENCE_S
    while not is_so():
        assert time.monotonic() < end_s, "it never happened"
        time.sleep(0.01)


def test_a_site_holds_a_schedule_for_the_loss_of_each_device(site: Path) -> None:
    table = read_situations(site)
    assert sorted(map(sorted, table)) == [[], ["a"], ["b"]]
    for lost, one in table.items():
        used = {state.state for bundle in one.bundles.values() for state in bundle.plan.slices}
        assert not used & lost


def test_a_lost_device_gets_no_further_frame_and_none_is_lost(site: Path) -> None:
    with LiveSite(read_situations(site), ServingOptions(check_every=1)) as live:
        live.start()
        wait_until(lambda: len(live.frames) > 4)
        live.lose_device("a")
        known = len(live.frames)
        wait_until(lambda: len(live.frames) > known + 8)
        live.stop()
        later = live.frames[known + 4 :]
        assert {span.device for frame in later for span in frame.spans} <= {"b"}
        numbers = sorted(frame.number for frame in live.frames if frame.model == "g/one")
        assert numbers == list(range(len(numbers)))
        assert not any(frame.is_wrong or frame.error for frame in live.frames)
        with pytest.raises(UsageError, match="no plan without a, b"):
            live.lose_device("b")
        live.regain_device("a")


class _DyingRunner:
    """A slice that fails from some run on, as a device does that is pulled out."""

    def __init__(self, inner: Runner, device: str, failing: set[str]) -> None:
        self.inner = inner
        self.device, self.failing = device, failing

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self._fail_if_pulled_out()
        return self.inner.run(inputs)

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        bound = self.inner.bind(inputs, outputs)

        def call() -> None:
            self._fail_if_pulled_out()
            bound()

        return call

    def _fail_if_pulled_out(self) -> None:
        if self.device in self.failing:
            raise RuntimeError("pulled out")

    def assignment(self) -> Mapping[str, str] | None:
        return self.inner.assignment()

    def close(self) -> None:
        self.inner.close()


@pytest.fixture
def pulled_out(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of devices every slice of which fails from now on."""
    failing: set[str] = set()
    load = BACKEND.load

    def load_dying(self: object, model: SliceModel, device: Device) -> Runner:
        runner = load(model, device)
        return _DyingRunner(runner, device.name, failing)

    monkeypatch.setattr(type(BACKEND), "load", load_dying)
    return failing


def test_a_device_that_fails_is_noticed_and_its_frames_run_again_elsewhere(site: Path, pulled_out: set[str]) -> None:
    table = read_situations(site)
    first = table[frozenset()].bundles["g/one"].plan.slices[0].state
    with LiveSite(table, ServingOptions(check_every=1)) as live:
        live.start()
        wait_until(lambda: len(live.frames) > 4)
        pulled_out.add(first)
        wait_until(lambda: bool(live.losses))
        known = len(live.frames)
        wait_until(lambda: len(live.frames) > known + 8)
        live.stop()
        (loss,) = live.losses
        assert loss.device == first
        assert "pulled out" in loss.reason
        frames = live.frames
        assert sum(frame.rerun_count for frame in frames) >= 1
        assert all(frame.error is None and not frame.is_wrong for frame in frames)
        assert all(frame.completion_s is not None or frame.is_dropped for frame in frames)
        for model in ("g/one", "g/two"):
            numbers = sorted(frame.number for frame in frames if frame.model == model)
            assert numbers == list(range(len(numbers)))
        assert {span.device for frame in frames[known + 4 :] for span in frame.spans} == {"a", "b"} - {first}


def test_without_another_plan_the_frames_of_a_failing_device_count_as_failed(site: Path, pulled_out: set[str]) -> None:
    alone = {frozenset[str](): read_situations(site)[frozenset({"b"})]}
    with LiveSite(alone) as live:
        pulled_out.add("a")
        live.start()
        wait_until(lambda: len(live.frames) > 4)
        live.stop()
        assert not live.losses
        statistics = live.statistics()
        assert all(one.failed_count == one.frame_count - one.dropped_count > 0 for one in statistics.models)


def test_devices_in_processes_of_their_own_serve_right_outputs(site: Path) -> None:
    served = api.serve_scenario(site, seconds=1.0, check_every=1, isolation=api.Isolation(30.0))
    assert not served.losses
    for one in served.statistics.models:
        assert one.completed_count > 0
        assert one.wrong_count == one.failed_count == 0


def test_the_command_serves_a_site_and_prints_the_shares(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mosaic_onnx.cli import run

    assert run(["run", "--scenario", str(site), "--seconds", "0.5", "--json"]) == 0
    served = json.loads(capsys.readouterr().out)
    assert served["schema"] == "mosaic-onnx/served/1"
    assert served["lost_devices"] == []
    assert all(0 <= one["drop_share"] <= one["miss_share"] <= 1 for one in served["models"])
    assert run(["run", "--scenario", str(site), "--inputs", "x.npz"]) == 2
    assert "--inputs says nothing of a scenario" in capsys.readouterr().err


def test_a_model_that_is_removed_gets_no_further_frame_until_it_is_added(site: Path) -> None:
    with LiveSite(read_situations(site)) as live:
        live.start()
        live.remove_model("g/two")
        known = sum(frame.model == "g/two" for frame in live.frames)
        before = len(live.frames)
        wait_until(lambda: len(live.frames) > before + 5)
        assert sum(frame.model == "g/two" for frame in live.frames) <= known + 1
        live.add_model("g/two")
        wait_until(lambda: sum(frame.model == "g/two" for frame in live.frames) > known + 1)
        with pytest.raises(UsageError, match="no model g/three"):
            live.add_model("g/three")


def test_a_period_that_changes_spaces_the_next_requests(site: Path) -> None:
    with LiveSite(read_situations(site)) as live:
        live.start()
        live.set_period("g", 0.05)
        wait_until(lambda: sum(frame.model == "g/one" for frame in live.frames) > 5)
        live.stop()
        arrivals = [frame.arrival_s for frame in live.frames if frame.model == "g/one"]
        assert arrivals[-1] - arrivals[-2] == pytest.approx(0.05)
        with pytest.raises(UsageError, match="'h'"):
            live.set_period("h", 1.0)
