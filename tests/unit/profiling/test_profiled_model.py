from __future__ import annotations

import numpy as np
import onnx
import pytest

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.layers import Layer, LayerGraph, TensorInfo
from mosaic_onnx.profiling import profiled_model as room
from mosaic_onnx.profiling.digest import Digest
from mosaic_onnx.profiling.measuring.timing import TimeBudget
from mosaic_onnx.profiling.profiled_model import ProfiledModel
from mosaic_onnx.profiling.reference_tensors import ReferenceTensors
from tests.unit.profiling.helpers import normalised
from tests.unit.profiling.test_device_profiler import Tensors, chain_extract, chain_graph


def subject_of(graph: LayerGraph, reference: Tensors | None = None) -> ProfiledModel:
    digests = [Digest(f"d{index}") for index in range(len(graph.layers))]
    return ProfiledModel(graph, digests, {}, chain_extract, reference or Tensors())


def skipping() -> LayerGraph:
    """x → a → b → c, where c reads what a makes as well, and b's output is the model's."""
    layers = (
        Layer("a", ("a",), ("Relu",), ("x",), ("ta",)),
        Layer("b", ("b",), ("Relu",), ("ta",), ("tb",)),
        Layer("c", ("c",), ("Add",), ("tb", "ta"), ("tc",)),
    )
    tensors = {name: TensorInfo(name, 1, (4,), 16) for name in ("x", "ta", "tb", "tc")}
    return LayerGraph(layers, tensors, ("x",), ("tb", "tc"))


@pytest.mark.parametrize(
    ("span", "inputs", "outputs"),
    [
        ((0, 0), ("x",), ("ta",)),
        ((0, 1), ("x",), ("ta", "tb")),
        ((1, 2), ("ta",), ("tb", "tc")),
        ((0, 2), ("x",), ("tb", "tc")),
        ((2, 2), ("tb", "ta"), ("tc",)),
    ],
)
def test_a_slice_reads_what_is_made_outside_and_gives_what_is_needed_there(
    span: tuple[int, int], inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> None:
    profiled = subject_of(skipping())
    assert profiled.inputs(span) == inputs
    assert profiled.outputs(span) == outputs


def test_the_reference_is_asked_once_for_what_is_in_memory() -> None:
    reference = Tensors()
    profiled = subject_of(chain_graph(3), reference)
    profiled.trial((0, 1), TimeBudget())
    profiled.trial((0, 1), TimeBudget())
    profiled.trial((1, 1), TimeBudget())
    assert reference.asked == [{"t0", "t2"}, {"t1"}]


def test_tensors_go_where_all_together_would_be_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BATCH_BYTES", 40)
    profiled = subject_of(chain_graph(4))
    profiled.hold({"t0", "t1"})
    profiled.hold({"t1", "t2"})
    assert set(profiled.held) == {"t1", "t2"}


def test_batches_hold_no_more_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BATCH_BYTES", 48)
    profiled = subject_of(chain_graph(5))
    spans = [(layer, layer) for layer in range(5)]
    assert [list(batch) for batch in profiled.batches(spans)] == [spans[0:2], spans[2:4], spans[4:5]]


def test_tensors_of_a_model_that_draws_random_numbers_come_from_one_run() -> None:
    reference = Tensors()
    profiled = subject_of(chain_graph(3, {1: "RandomNormalLike"}), reference)
    trial = profiled.trial((0, 0), TimeBudget())
    again = profiled.trial((0, 1), TimeBudget())
    assert reference.asked == [{"t0", "t1"}, {"t0", "t2"}]
    assert trial.inputs["t0"][0] != again.inputs["t0"][0]  # the fake counts its runs
    assert again.inputs["t0"][0] == again.expected["t2"][0]


def test_made_up_tensors_are_not_what_must_come_out() -> None:
    profiled = subject_of(chain_graph(2), Tensors(is_right=False))
    assert profiled.trial((0, 0), TimeBudget()).expected == {}


MODEL = normalised(
    '<ir_version: 10, opset_import: ["": 21, "strange": 1]> g (float[2,2] x, int64[2] i) => (float[2,2] y)'
    " { a = Relu(x) b = Gather(a, i) y = strange.Op(b) }"
)


def reference_of(model: onnx.ModelProto, **fields: object) -> ReferenceTensors:
    return ReferenceTensors(model, "", MODEL.tensors, fields.get("inputs"), 0)  # type: ignore[arg-type]


def test_a_model_that_nothing_runs_is_measured_on_made_up_tensors_and_that_is_said() -> None:
    tensors = reference_of(MODEL.model)
    found = tensors(["a", "i"])
    assert found["a"].shape == (2, 2)
    assert found["i"].tolist() == [0, 0]
    assert not tensors.is_right
    assert "not compared" in tensors.notes[0]
    assert "strange" in tensors.notes[0]


def test_a_tensor_of_unknown_shape_cannot_be_made_up() -> None:
    with pytest.raises(ModelError, match="'b'"):
        ReferenceTensors(MODEL.model, "", {}, None, 0)(["b"])


def test_the_identity_tells_inputs_apart() -> None:
    one, two = ({"x": np.full((2, 2), value, np.float32)} for value in (1, 2))
    assert reference_of(MODEL.model, inputs=one).identity == reference_of(MODEL.model, inputs=dict(one)).identity
    assert reference_of(MODEL.model, inputs=one).identity != reference_of(MODEL.model, inputs=two).identity
    assert reference_of(MODEL.model).identity != reference_of(MODEL.model, inputs=one).identity
