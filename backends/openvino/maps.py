"""Memory maps: OpenVINO's CPU plugin generates machine code for its kernels, each in a map that it never releases.

The system limits the maps of a process; the plugin ends the process when it gets no more.
"""

from __future__ import annotations

from pathlib import Path

_MAPS, _LIMIT = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
MAPS_A_NODE = 0.75
"""Maps per node; measured: 0.5 in large graphs, 0.78 in small ones."""
_SPARE = 2000
"""Maps reserved for other uses."""


def too_many_maps(node_count: int, maps: Path = _MAPS, limit: Path = _LIMIT) -> str | None:
    """Return why a slice of so many nodes must not be compiled in this process; None where it may, or if unknown.

    Args:
        node_count: nodes of the slice.
        maps: this process's maps, one per line.
        limit: the system's limit.
    """
    try:
        granted = int(limit.read_text())
        with maps.open("rb") as lines:
            held = sum(1 for _ in lines)
    except (OSError, ValueError):
        return None
    wanted = int(held + MAPS_A_NODE * node_count) + _SPARE
    if wanted <= granted:
        return None
    return (
        f"its {node_count:,} nodes want about {wanted:,} memory maps and the system grants {granted:,} "
        "(sysctl vm.max_map_count): OpenVINO would end the process"
    )
