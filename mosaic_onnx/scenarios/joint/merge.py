"""Several profiles as one, so that one plan holds all their layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.profiles import Profile, ProfileLayer, SwitchCost, TensorTransferCost, TransferCost


@dataclass(frozen=True)
class MergedProfile:
    """Several profiles as one.

    Attributes:
        profile: all layers, numbered through; names of layers and tensors begin with ``model/``.
        names: of the models.
        first_layers: index of each model's first layer.
    """

    profile: Profile
    names: tuple[str, ...]
    first_layers: tuple[int, ...]

    def model_of(self, layer: int) -> int:
        """Return the model that a layer belongs to."""
        return max(m for m, first in enumerate(self.first_layers) if first <= layer)


def merge_profiles(profiles: Sequence[Profile], names: Sequence[str]) -> MergedProfile:
    """Join profiles of the same devices.

    Args:
        profiles: at least one.
        names: what to call each model; repeated names get a number.

    Raises:
        ModelError: they do not name the same devices, switches or places that tensors are copied between, or one has
            joules and another has none.
    """
    unique = _unique(names)
    first = profiles[0]
    for name, profile in zip(unique, profiles, strict=True):
        _check_alike(unique[0], first, name, profile)
    first_layers = [sum(len(one.layers) for one in profiles[:m]) for m in range(len(profiles))]
    pairs = list(zip(unique, profiles, strict=True))
    merged = Profile(
        model_name="+".join(unique),
        devices=first.devices,
        tensor_bytes={f"{name}/{t}": count for name, one in pairs for t, count in one.tensor_bytes.items()},
        inputs=tuple(f"{name}/{tensor}" for name, one in pairs for tensor in one.inputs),
        outputs=tuple(f"{name}/{tensor}" for name, one in pairs for tensor in one.outputs),
        layers=tuple(_renamed(name, layer) for name, one in pairs for layer in one.layers),
        copies=tuple(_joined_copy(copy, pairs) for copy in first.copies),
        switches=tuple(_joined_switch(switch, pairs) for switch in first.switches),
        segments=tuple(
            replace(segment, first=segment.first + start, last=segment.last + start)
            for one, start in zip(profiles, first_layers, strict=True)
            for segment in one.segments
        ),
        copies_occupy_device=first.copies_occupy_device,
        exclusive=first.exclusive,
        links=tuple(replace(link, tensors=_own_tensors(link.between, pairs)) for link in first.links),
        slowdowns=first.slowdowns,
    )
    return MergedProfile(merged, unique, tuple(first_layers))


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """Number the names that stand more than once."""
    return tuple(
        name if names.count(name) == 1 else f"{name}.{names[: m + 1].count(name)}" for m, name in enumerate(names)
    )


def _check_alike(first_name: str, first: Profile, name: str, profile: Profile) -> None:
    """Refuse a profile that says something else of the machine than the first one does."""
    facts = {
        "devices": lambda one: [replace(device, meta={}, options={}) for device in one.devices],
        "switches": lambda one: sorted(_switch_fact(switch) for switch in one.switches),
        "copies between places": lambda one: sorted((copy.source, copy.destination) for copy in one.copies),
        "copies_occupy_device": lambda one: one.copies_occupy_device,
        "exclusive devices": lambda one: sorted(one.exclusive),
        "links between machines": lambda one: [replace(link, tensors={}, meta={}) for link in one.links],
        "slowdowns": lambda one: {device: dict(row) for device, row in one.slowdowns.items()},
        "joules (given by one of them only)": _has_joules,
    }
    for what, fact in facts.items():
        if fact(first) != fact(profile):
            raise ModelError(
                f"the profiles of {first_name} and {name} do not agree on {what}",
                "profile both with the same -d on the same machine",
            )


def _switch_fact(switch: SwitchCost) -> tuple[str, str, str, float, float]:
    return switch.device, switch.source, switch.destination, switch.seconds, switch.joules


def _has_joules(profile: Profile) -> bool:
    return any(cost is not None and cost.joules is not None for layer in profile.layers for cost in layer.cost.values())


def _joined_switch(switch: SwitchCost, pairs: Sequence[tuple[str, Profile]]) -> SwitchCost:
    """Return a switch with each model's own costs before its layers."""
    layers = {
        f"{name}/{layer}": cost
        for name, profile in pairs
        for own in profile.switches
        if (own.device, own.source, own.destination) == (switch.device, switch.source, switch.destination)
        for layer, cost in own.layers.items()
    }
    return replace(switch, layers=layers)


def _own_tensors(between: tuple[str, str], pairs: Sequence[tuple[str, Profile]]) -> dict[str, TensorTransferCost]:
    """Return the tensors that have their own cost over a link."""
    return {
        f"{name}/{tensor}": cost
        for name, profile in pairs
        for link in profile.links
        if link.between == between
        for tensor, cost in link.tensors.items()
    }


def _renamed(name: str, layer: ProfileLayer) -> ProfileLayer:
    return replace(
        layer,
        name=f"{name}/{layer.name}",
        inputs=tuple(f"{name}/{tensor}" for tensor in layer.inputs),
        outputs=tuple(f"{name}/{tensor}" for tensor in layer.outputs),
        group=f"{name}/{layer.group}" if layer.group else "",
    )


def _joined_copy(copy: TransferCost, pairs: Sequence[tuple[str, Profile]]) -> TransferCost:
    """Return the first profile's line for its tensors; of profiles with another line, each tensor's own cost."""
    tensors: dict[str, TensorTransferCost] = {}
    for name, profile in pairs:
        own = next(one for one in profile.copies if (one.source, one.destination) == (copy.source, copy.destination))
        tensors |= {f"{name}/{tensor}": cost for tensor, cost in own.tensors.items()}
        if _line(own) != _line(copy):
            tensors |= {
                f"{name}/{tensor}": _own_cost(own, tensor, profile.tensor_bytes) for tensor in profile.tensor_bytes
            }
    return replace(copy, tensors=tensors)


def _line(copy: TransferCost) -> tuple[float, float, float, float]:
    return copy.seconds_per_byte, copy.seconds, copy.joules_per_byte, copy.joules


def _own_cost(copy: TransferCost, tensor: str, tensor_bytes: Mapping[str, int]) -> TensorTransferCost:
    """Return what one tensor costs over an entry, in full."""
    given = copy.tensors.get(tensor, TensorTransferCost())
    byte_count = tensor_bytes[tensor]
    return TensorTransferCost(
        copy.seconds_per_byte * byte_count + copy.seconds if given.seconds is None else given.seconds,
        copy.joules_per_byte * byte_count + copy.joules if given.joules is None else given.joules,
    )
