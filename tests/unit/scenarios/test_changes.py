"""Changes while a site is served: periods, models, a device that goes and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import parser

from mosaic_onnx import api
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.files.device_file import write_devices
from mosaic_onnx.pipeline.site.live import LiveSite
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
    with LiveSite(read_situations(site), check_every=1) as live:
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
