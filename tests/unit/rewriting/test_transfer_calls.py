"""The value that each slice reads, and the transfers that produce it."""

from __future__ import annotations

from mosaic_onnx.core.plans import Plan, Predicted, Transfer
from mosaic_onnx.core.profiles import HOST
from mosaic_onnx.rewriting.transfer_calls import TransferCall, TransferCalls

SHARES = {"cpu": True, "other": True, "gpu": False}


def calls(*transfers: Transfer, homes: dict[str, str], taken: set[str] | None = None) -> TransferCalls:
    plan = Plan("latency", "sequential", "forced", (), transfers, Predicted(1.0, None, 1.0))
    base = {tensor: tensor for tensor in homes}
    return TransferCalls(plan, SHARES, dict.fromkeys(homes, 8), taken or set(homes), dict(homes), base)


def transfer(tensor: str, source: str, destination: str) -> Transfer:
    return Transfer(tensor, source, destination, 8)


def test_a_value_is_read_where_it_was_made() -> None:
    made = calls(homes={"t": "cpu"})
    assert made.value_for("t", "cpu") == "t"
    assert made.made == []


def test_devices_that_share_memory_get_a_transfer_that_costs_nothing_and_one_for_all_readers() -> None:
    made = calls(homes={"t": "cpu"})
    assert made.value_for("t", "other") == made.value_for("t", "other") == "t@other"
    assert made.made == [TransferCall("t", "t", "t@other", "cpu", "other", 8)]


def test_a_planned_transfer_is_followed() -> None:
    made = calls(transfer("t", HOST, "gpu"), homes={"t": HOST})
    assert made.value_for("t", "gpu") == "t@gpu"
    assert made.value_for("t", "cpu") == "t"
    assert made.origins["t@gpu"] == "t"


def test_a_transfer_between_two_memories_goes_by_way_of_host() -> None:
    made = calls(transfer("t", "gpu", HOST), transfer("t", HOST, "npu"), homes={"t": "gpu"})
    made.shares_host = {**SHARES, "npu": False}
    assert made.value_for("t", "npu") == "t@npu"
    assert [(call.source_value, call.value) for call in made.made] == [("t", "t@host"), ("t@host", "t@npu")]
    assert made.leaves_home("t")


def test_a_device_that_keeps_nothing_gets_a_copy_for_each_slice() -> None:
    made = calls(transfer("t", HOST, "gpu"), transfer("t", HOST, "gpu"), homes={"t": HOST})
    assert [made.value_for("t", "gpu"), made.value_for("t", "gpu")] == ["t@gpu", "t@gpu#2"]


def test_a_name_that_is_taken_is_not_given_again() -> None:
    made = calls(homes={"t": "cpu"}, taken={"t", "t@other"})
    assert made.value_for("t", "other") == "t@other#2"
