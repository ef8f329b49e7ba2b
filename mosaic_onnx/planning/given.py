"""A profile or plan made elsewhere, held against the model and the devices that are here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import HOST, Profile
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.profile_plan import plan_of_slices, proposal_of


def fit_profile(profile: Profile, node_keys: Collection[str], devices: Mapping[str, Device]) -> Profile:
    """Return a profile for compiling here: of this model, on devices that are here, with their options.

    Devices of the profile that are not here are left out with all that is said of them.

    Args:
        profile: made anywhere.
        node_keys: keys of the model's nodes.
        devices: those that take part, by name.

    Raises:
        ModelError: a layer names no node, or one that the model does not have.
        UsageError: no device of the profile is here, or one has other levels here.
    """
    for layer in profile.layers:
        strange = next((key for key in layer.nodes if key not in node_keys), None)
        if strange is not None or not layer.nodes:
            fault = "names no nodes" if strange is None else f"names node {strange!r}, which the model does not have"
            raise ModelError(f"the profile's layer {layer.name!r} {fault}", "give a profile of this very model")
    here = tuple(_as_here(one, devices[one.name]) for one in profile.devices if one.name in devices)
    if not here:
        names = ", ".join(device.name for device in profile.devices)
        raise UsageError(f"no device of the profile is here: {names}", f"name some with -d; here: {', '.join(devices)}")
    kept = {device.name for device in here}
    return replace(
        profile,
        devices=here,
        layers=tuple(
            replace(layer, cost={state: cost for state, cost in layer.cost.items() if device_of(state) in kept})
            for layer in profile.layers
        ),
        copies=tuple(
            copy for copy in profile.copies if {device_of(copy.source), device_of(copy.destination)} <= {HOST, *kept}
        ),
        switches=tuple(switch for switch in profile.switches if switch.device in kept),
        segments=tuple(segment for segment in profile.segments if device_of(segment.state) in kept),
        exclusive=tuple(pair for pair in profile.exclusive if set(pair) <= kept),
        links=tuple(link for link in profile.links if set(link.between) <= {HOST, *(one.machine for one in here)}),
        slowdowns={
            name: {other: factor for other, factor in row.items() if other in kept}
            for name, row in profile.slowdowns.items()
            if name in kept
        },
    )


def _as_here(planned: Device, here: Device) -> Device:
    """The device as it is here, with the profile's caps."""
    if planned.states != here.states:
        states = f"{', '.join(here.states)} here, {', '.join(planned.states)} in the profile"
        raise UsageError(
            f"device {here.name} has the states {states}",
            "describe it in a devices.toml as the profile does, and name that with -d",
        )
    return replace(
        here,
        memory_bytes=planned.memory_bytes,
        slice_memory_bytes=planned.slice_memory_bytes,
        max_slice_count=planned.max_slice_count,
        machine=planned.machine,
        io=planned.io,
        slice_seconds=planned.slice_seconds,
        slice_joules=planned.slice_joules,
        activation_memory=planned.activation_memory,
        idle_w=planned.idle_w,
    )


def fit_plan(plan: Plan, profile: Profile, table: CostTable) -> Plan:
    """Return a plan made elsewhere with this profile's prediction.

    Raises:
        ModelError: it does not cover the profile's layers once each, or its nodes are others than theirs.
        UsageError: it uses a state that the profile does not have, or is of several models.
        InfeasibleError: it breaks a constraint of the profile.
    """
    if plan.models:
        names = ", ".join(model.name for model in plan.models)
        raise UsageError(f"the plan is of several models: {names}", "schedule them together: mosaic-onnx schedule")
    covered = sorted(layer for one in plan.slices for layer in one.layers)
    if covered != list(range(len(profile.layers))):
        raise ModelError(
            f"the plan's slices do not cover the {len(profile.layers)} layers of the profile once each",
            "give the profile that the plan was made from (--profile), or plan anew",
        )
    for number, one in enumerate(plan.slices):
        nodes = {key for layer in one.layers for key in profile.layers[layer].nodes}
        if one.nodes and set(one.nodes) != nodes:
            raise ModelError(f"slice {number} of the plan has other nodes than its layers in the profile", "plan anew")
        if one.state not in profile.states:
            raise UsageError(f"the plan runs slice {number} on {one.state}, which is not here", "see -d")
    request = Request(objective=plan.objective, schedule=plan.schedule)
    made = plan_of_slices(profile, request, plan.method, proposal_of(profile, plan), table)
    return replace(made, bound=plan.bound, constraints=plan.constraints, meta=plan.meta)
