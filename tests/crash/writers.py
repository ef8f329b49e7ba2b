"""Every writer of files, run with a fault at each of its calls in turn; started by the test under the shim.

Prints one JSON list: an outcome for each writer, fault and call.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from mosaic_onnx import api
from mosaic_onnx.core.errors import MosaicError, UsageError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.files.bundle import BundleContents, write_bundle
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.files.device_file import write_devices
from mosaic_onnx.files.plan_file import write_plan
from mosaic_onnx.files.profile_file import write_profile
from tests.unit.files.bundles import small_contents

FAULTS = {"KILL": 0, **{name: getattr(errno, name) for name in ("EIO", "ENOSPC", "EFBIG", "EROFS")}}
SHIM = ctypes.CDLL(None)
SHIM.fault_site.restype = ctypes.c_char_p


@dataclass(frozen=True)
class Outcome:
    """The state after one fault.

    Attributes:
        writer: what wrote.
        fault: how its call failed.
        call: which one, counted from 1.
        site: what the call was, where it failed.
        state: ``old``, ``new``, ``absent``, or ``half``.
        ended: ``killed``, an exit code, or ``unhandled``.
        message: of the error.
        leftovers: names beside the target.
    """

    writer: str
    fault: str
    call: int
    site: str
    state: str
    ended: str
    message: str
    leftovers: tuple[str, ...]


@dataclass(frozen=True)
class Writer:
    """Writes ``target`` in the folder that it is given: once the old content, once the new one."""

    target: str
    write: Callable[[Path, bool], object]


def digest(path: Path) -> str | None:
    """Of a file, or of a folder with all that is in it; None where there is nothing."""
    if not path.exists():
        return None
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    content = [(each.relative_to(path.parent).as_posix(), each.read_bytes()) for each in files]
    return hashlib.sha256(repr(content).encode()).hexdigest()


def writers(contents: BundleContents) -> Mapping[str, Writer]:
    old, plan = contents, replace(contents.plan, method="another")
    new = replace(contents, plan=plan, tuned=[replace(one, is_optimised=True) for one in contents.slices])
    renamed = replace(contents.profile, model_name="another")
    of = {False: old, True: new}
    arrays = {False: {"y": np.zeros(3000)}, True: {"y": np.ones(3000)}}
    plans: dict[bool, Plan] = {False: contents.plan, True: plan}
    devices = {False: contents.devices[:1], True: contents.devices}

    def bundle(folder: Path, is_new: bool) -> None:
        write_bundle(of[is_new], folder / "small.mosaic", force=True)

    def kept(folder: Path, is_new: bool) -> None:
        cache = Cache(folder)
        cache.store({"key": 1}, [1.5] * 400 if is_new else 1)
        if cache.notes:
            raise UsageError(cache.notes[0])

    return {
        "bundle": Writer("small.mosaic", bundle),
        "profile": Writer(
            "p.json", lambda folder, is_new: write_profile(renamed if is_new else contents.profile, folder / "p.json")
        ),
        "plan": Writer("plan.json", lambda folder, is_new: write_plan(plans[is_new], folder / "plan.json")),
        "devices": Writer(
            "devices.toml", lambda folder, is_new: write_devices(devices[is_new], folder / "devices.toml", force=True)
        ),
        "outputs": Writer("out.npz", lambda folder, is_new: api.write_arrays(arrays[is_new], folder / "out.npz")),
        "cache": Writer("measurements", kept),
    }


def try_one(writer: Writer, name: str, fault: str, call: int, place: Path, starts_empty: bool) -> tuple[Outcome, int]:
    """Write the new content over the old one with a fault at a call; the outcome, and how many calls there were."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    writer.write(place, True)
    new = digest(place / writer.target)
    shutil.rmtree(place)
    place.mkdir()
    if not starts_empty:
        writer.write(place, False)
    old = digest(place / writer.target)
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os._exit(_write(writer, place, fault, call, tell))
    os.close(tell)
    with os.fdopen(told) as stream:
        words = stream.read()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    report = json.loads(words) if words else {"ended": "killed" if killed else f"status {status}"}
    found = digest(place / writer.target)
    state = {new: "new", old: "absent" if old is None else "old"}.get(found, "half")
    if name == "cache":
        state = {1: "old", 400: "new", 0: "absent"}.get(_summary(Cache(place).lookup({"key": 1})), "half")
    beside = tuple(sorted(each.name for each in place.iterdir() if each.name != writer.target))
    outcome = Outcome(
        f"{name} anew" if starts_empty else name,
        fault,
        call,
        report.get("site", ""),
        state,
        report["ended"],
        report.get("message", ""),
        beside,
    )
    return outcome, report.get("count", call)


def _summary(value: object) -> int:
    """Return a summary of a cache entry: 1, a list's length, or 0 for no entry."""
    return len(value) if isinstance(value, list) else value if isinstance(value, int) else 0


def _write(writer: Writer, place: Path, fault: str, call: int, tell: int) -> int:
    """In the forked child: write, and tell how it went."""
    SHIM.fault_arm(os.fsencode(place), ctypes.c_long(call), FAULTS[fault])
    ended, message = "0", ""
    try:
        writer.write(place, True)
    except MosaicError as error:
        ended, message = str(error.exit_code), error.message
    except BaseException as error:
        ended, message = "unhandled", repr(error)
    count = SHIM.fault_count()
    site = SHIM.fault_site().decode()
    os.write(tell, json.dumps({"ended": ended, "message": message, "count": count, "site": site}).encode())
    return 0


def main() -> None:
    """Every writer, over an old content and on an empty place; every fault; every call, or every STEP-th."""
    place, step = Path(sys.argv[1]), int(sys.argv[2])
    source = place / "source"
    source.mkdir()
    outcomes: list[Outcome] = []
    for name, writer in writers(small_contents(source)).items():
        for starts_empty in (False, True):
            _, count = try_one(writer, name, "KILL", 0, place / "here", starts_empty)  # no call is the 0th
            for fault in FAULTS:
                for call in range(1, count + 1, step):
                    outcomes.append(try_one(writer, name, fault, call, place / "here", starts_empty)[0])
    json.dump([asdict(each) for each in outcomes], sys.stdout)


if __name__ == "__main__":
    main()
