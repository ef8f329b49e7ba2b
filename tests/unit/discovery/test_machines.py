"""Three recorded machines: which devices are found, which take part by default, and why the others do not.

The answers of the operating system and of the vendors' runtimes are recorded properties; what follows from them is kept
in ``machines/*.json``. After an intended change, run this file with ``MOSAIC_RENEW_GOLDEN=1``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from mosaic_onnx.discovery.registry import Inventory, left_out, select_devices
from tests.machine.recorded_machines import laptop, phone, server

GOLDEN = Path(__file__).parent / "machines"


def described(inventory: Inventory) -> dict[str, object]:
    chosen = select_devices([], inventory)
    lower = select_devices([], inventory, lower=True)
    return {
        "devices": {
            name: {
                "backend": device.backend,
                "precision": device.precision,
                "memory_bytes": device.memory_bytes,
                "options": dict(device.options),
            }
            for name, device in inventory.devices.items()
        },
        "take part": names(chosen),
        "join for an error budget": [name for name in names(lower) if name not in names(chosen)],
        "left out": {each.name: each.reason for each in left_out(chosen, inventory)},
        "not here": {each.name: each.reason for each in inventory.absent},
    }


def names(devices: Sequence[object]) -> list[str]:
    return [str(getattr(device, "name", "")) for device in devices]


@pytest.mark.parametrize("machine", [laptop, phone, server], ids=lambda machine: machine.__name__)
def test_a_recorded_machine_has_the_devices_of_its_golden_file(machine: object, tmp_path: Path) -> None:
    assert callable(machine)
    seen = described(machine(tmp_path).found())
    golden = GOLDEN / f"{machine.__name__}.json"
    if os.environ.get("MOSAIC_RENEW_GOLDEN"):
        golden.write_text(json.dumps(seen, indent=2) + "\n")
    assert seen == json.loads(golden.read_text())
