"""The keys of a device that ``devices.toml`` and the profile share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mosaic_onnx.files.strict_json import ByteCount, Count, FileModel, Name, NonNegative


class LevelEntry(FileModel):
    """One frequency/voltage operating point."""

    name: Name
    frequency_hz: NonNegative = Field(0.0, description="clock, in hertz")
    voltage_v: NonNegative = Field(0.0, description="supply, in volts")


class DeviceEntry(FileModel):
    """One place that runs slices."""

    name: Name = Field(description="what you call it; no @, and not host")
    backend: str = Field("", description="onnxruntime, openvino, simulated, or one that a package adds")
    precision: str = Field("f32", description="what it computes in: f32, bf16, f16, int8")
    simulated: bool = Field(False, description="its times are not those of real hardware")
    levels: list[LevelEntry] = Field([], description="operating points, lowest first")
    io: Literal["resident", "host"] = Field("resident", description="host: every slice moves all its tensors")
    slice_seconds: NonNegative = Field(0.0, description="added once per slice")
    slice_joules: NonNegative = Field(0.0, description="added once per slice")
    memory_bytes: ByteCount | None = Field(None, description="cap on all slices together")
    slice_memory_bytes: ByteCount | None = Field(None, description="cap on each slice")
    max_slice_count: Count | None = Field(None, description="most slices of a plan that it runs")
    activation_memory: Literal["live", "sum"] = Field("live", description="how a slice's activations count")
    machine: str = Field("", description="the machine it belongs to; empty for the one whose memory is host")
    idle_w: NonNegative = Field(0.0, description="power drawn over the whole run, in watts")
