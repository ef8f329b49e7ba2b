from __future__ import annotations

import json
from itertools import pairwise

import numpy as np

from mosaic_onnx.runtime.trace import Span, Trace, chrome_trace
from tests.unit.runtime.helpers import FakeBackend, diamond, open_fake

RUN = Trace(
    (
        Span("inputs", "input", "host", 0.0, 0.001, bytes=16),
        Span("one", "slice", "cpu", 0.001, 0.003, slice=0),
        Span("a", "transfer", "gpu", 0.003, 0.004, slice=1, bytes=16),
        Span("two", "slice", "gpu", 0.004, 0.009, slice=1),
    ),
    0.01,
)


def test_slice_times_leave_transfers_out() -> None:
    np.testing.assert_allclose(RUN.slice_seconds(3), [0.002, 0.005, 0.0])
    np.testing.assert_allclose(RUN.transfer_seconds, 0.001)


def test_the_chrome_form_has_a_lane_a_device_in_the_order_given() -> None:
    events = json.loads(json.dumps(chrome_trace([RUN], ["gpu", "cpu", "npu"])))["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert names == {0: "host", 1: "gpu", 2: "cpu", 3: "npu"}
    two = next(event for event in events if event["name"] == "two")
    assert (two["ph"], names[two["tid"]], two["cat"], two["args"]) == ("X", "gpu", "slice", {"run": 0, "slice": 1})
    np.testing.assert_allclose([two["ts"], two["dur"]], [4000, 5000])


def test_runs_stand_one_after_the_other() -> None:
    events = chrome_trace([RUN, RUN], ["cpu", "gpu"])["traceEvents"]
    starts = [event["ts"] for event in events if event["name"] == "one"]
    np.testing.assert_allclose(starts, [1000, 11000])


def test_the_spans_of_a_lane_never_overlap_and_lie_within_the_run() -> None:
    backend = FakeBackend(own_memory={"b"})
    with open_fake(diamond(), ["a", "b", "a", "b"], backend, schedule="concurrent") as program:
        _, trace = program.run_timed({"x": np.ones(4, np.float32)})
    for lane in ("a", "b", "host"):
        spans = [span for span in trace.spans if span.lane == lane]
        assert spans
        assert all(one.end_s <= two.start_s for one, two in pairwise(spans))
        assert all(0 <= span.start_s <= span.end_s <= trace.seconds for span in spans)
