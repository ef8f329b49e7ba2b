"""A profile of a described decoder on a described machine: prefill and decode as two shapes of one placement."""

from __future__ import annotations

from pathlib import Path

from mosaic_onnx.core.cost_tables.shape_mix import WeighedShape, mixed_shapes
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.profiles import HOST, Cost, Profile, ProfileLayer, TransferCost
from mosaic_onnx.importers.decoder.file import Decoder, Machine, MachineDevice, read_decoder, read_machine
from mosaic_onnx.importers.decoder.work import Call, LayerWork, layers_of

BYTES_PER_TOKEN_ID = 8


def import_decoder(
    path: Path, *, machine: str = "desktop-8gb", prompt_count: int = 512, token_count: int = 128
) -> Profile:
    """Return the profile of one request: a prompt that is read at once, then tokens that are made one by one.

    Seconds are those of the whole request (one prefill and ``token_count`` decodes); where each layer runs holds for
    both. ``parameter_bytes`` are the weights and the keys and values of the whole context. Costs are modelled: the
    longer of arithmetic at the published rate and memory traffic at the published bandwidth, plus the launch.

    Args:
        path: the decoder's file, or a shipped name.
        machine: the machine's file, or a shipped name.
        prompt_count: tokens of the prompt.
        token_count: tokens made after it.

    Raises:
        ModelError: a file is wrong.
        UsageError: a number is below 1, or there is no such description.
    """
    decoder, described = read_decoder(path), read_machine(machine)
    for name, number in (("prompt_count", prompt_count), ("token_count", token_count)):
        if number < 1:
            raise UsageError(f"{name} is {number}: at least one is needed")
    most = prompt_count + token_count
    prefill, decode = Call(prompt_count, (prompt_count + 1) / 2), Call(1, prompt_count + (token_count + 1) / 2)
    shapes = [
        WeighedShape(shape_profile(decoder, described, call, most), weight)
        for call, weight in ((prefill, 1.0), (decode, float(token_count)))
    ]
    return mixed_shapes(shapes, f"{decoder.name} on {described.name}")


def shape_profile(decoder: Decoder, machine: Machine, call: Call, most_context_count: int) -> Profile:
    """Return the profile of one call.

    Args:
        decoder: the architecture.
        machine: the devices.
        call: how many tokens pass.
        most_context_count: tokens whose keys and values are kept in memory.
    """
    works = layers_of(decoder, call, most_context_count)
    hidden_bytes = int(call.token_count * decoder.hidden * decoder.bytes_per_activation)
    tensors = {"tokens": call.token_count * BYTES_PER_TOKEN_ID}
    tensors |= {work.output: hidden_bytes for work in works}
    tensors["logits"] = int(decoder.vocabulary * decoder.bytes_per_activation)
    return Profile(
        model_name=decoder.name,
        devices=tuple(
            Device(each.name, simulated=True, memory_bytes=each.memory_bytes, meta={"source": each.source})
            for each in machine.devices
        ),
        tensor_bytes=tensors,
        inputs=("tokens",),
        outputs=("logits",),
        layers=tuple(_layer(decoder, machine, work) for work in works),
        copies=tuple(copy for each in machine.devices for copy in _copies(each)),
        meta={"imported_from": "decoder", "decoder": decoder.source, "machine": machine.name},
    )


def _layer(decoder: Decoder, machine: Machine, work: LayerWork) -> ProfileLayer:
    return ProfileLayer(
        name=work.name,
        inputs=work.inputs,
        outputs=(work.output,),
        cost={each.name: Cost(_seconds(each, work), source="modelled") for each in machine.devices},
        parameter_bytes=int(work.weight_count * decoder.bits_per_weight / 8) + work.kept_bytes,
        op_types=work.op_types,
    )


def _seconds(device: MachineDevice, work: LayerWork) -> float:
    """Return the roofline of one layer: arithmetic or memory traffic, whichever takes longer."""
    return device.layer_seconds + max(work.flop_count / device.flops_per_s, work.read_bytes / device.bytes_per_s)


def _copies(device: MachineDevice) -> tuple[TransferCost, ...]:
    if device.link_bytes_per_s is None:
        return ()
    slope = 1.0 / device.link_bytes_per_s
    return (
        TransferCost(HOST, device.name, slope, device.link_seconds),
        TransferCost(device.name, HOST, slope, device.link_seconds),
    )
