"""Measure what each layer costs on each device, and what copying between host and devices costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from mosaic_onnx.core.options import option
from mosaic_onnx.passes.state import State
from mosaic_onnx.profiling.energy.watts import Watts

if TYPE_CHECKING:
    from mosaic_onnx.profiling.device_profiler import ProfilingEffort

ENERGY_S = 0.5
"""Seconds that a layer is repeated for its joules: counters are renewed every millisecond, so this reads to 0.2 %."""


@dataclass(frozen=True)
class Profile:
    """Measure devices that are here; ask those whose backend states its costs.

    Attributes:
        effort: how much time to spend; None for the usual.
        limit_s: how long one slice may take in a child process.
        energy: whether joules are ``required`` (a plan for energy), taken where a meter can be read (``auto``), or left
            out (``none``).
        watts: declared power by device, from which joules are modelled where none are measured.
        sustained_s: how long each device works before it is measured, so that it is as warm as in use.
    """

    name: ClassVar[str] = "profile"
    requires: ClassVar[tuple[str, ...]] = ("selection", "opened", "normalised", "inputs", "graph", "annotation")
    ensures: ClassVar[tuple[str, ...]] = ("profile",)

    effort: ProfilingEffort | None = None
    limit_s: float = 120.0
    energy: Literal["required", "auto", "none"] = "auto"
    watts: Mapping[str, Watts] = option(
        dict,
        help="Power of a device, idle and busy, from which joules are modelled where no meter can be read.",
        flag="--watts",
        metavar="DEVICE=IDLE,BUSY",
        words="watts",
    )
    sustained_s: float = option(
        default=0.0,
        help="Let each device work so long before it is measured, so that it is as warm as in use.",
        flag="--sustained",
        metavar="SECONDS",
        minimum=0,
    )

    def __call__(self, state: State) -> State:
        """Add the profile.

        Raises:
            UsageError: joules are required, and a device has neither a meter nor declared power.
            BackendError: a device failed.
            ProfilingInterrupted: Ctrl-C; it holds what was measured until then.
        """
        from mosaic_onnx.backends.hardware.energy_meters import find_meters
        from mosaic_onnx.discovery.health import busy_text
        from mosaic_onnx.profiling.energy.modelled import with_modelled_energy
        from mosaic_onnx.profiling.energy.source import real_devices, refuse_without_joules
        from mosaic_onnx.profiling.idle_devices import idle_devices
        from mosaic_onnx.profiling.profile_model import profile_model

        devices, backends = state.selection.chosen, state.selection.backends
        if self.energy == "required":
            refuse_without_joules(devices, backends, self.watts)
        is_metered = self.energy != "none" and bool(real_devices(devices, backends)) and not self.watts
        options = replace(
            state.measuring(self.effort),
            limit_s=self.limit_s,
            sustained_s=self.sustained_s,
            energy_s=ENERGY_S if is_metered and find_meters().meters else 0.0,
        )
        busy = busy_text()
        if busy and real_devices(devices, backends):
            state.note(f"{busy}: figures may be off; what is disturbed is measured again next time")
        profile = profile_model(
            state.normalised,
            state.graph,
            devices,
            backends,
            options,
            state.progress,
            annotation=state.annotation,
        )
        notes = profile.meta.get("notes")
        for text in notes if isinstance(notes, list) else ():
            state.note(f"note: {text}")
        for device, reason in idle_devices(profile).items():
            state.note(f"{device} is left out, since it runs none of the layers: {reason}")
        return replace(state, profile=with_modelled_energy(profile, self.watts) if self.watts else profile)
