"""The activities of a soak test: compile, run, verify, meet faults, be killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mosaic_onnx import api
from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.errors import MosaicError
from mosaic_onnx.files.bundle import read_bundle
from mosaic_onnx.planner.core.request import Request
from tests.corpus.own.models import write
from tests.fuzz.generator.models import random_model

COMMAND = Path(sys.executable).with_name("mosaic-onnx")
MODELS = ("own/attention", "own/branches", "own/loop", "own/quantised", "own/residual")
ORPHAN_LIMIT_S = 20.0
"""A child whose parent was killed is gone after this."""


@dataclass
class Soak:
    """A folder with models and bundles, and what is done with them.

    Attributes:
        folder: for everything that is written.
        draw: decides what happens.
        devices: those that bundles are compiled for.
    """

    folder: Path
    draw: random.Random
    devices: tuple[str, ...] = ("cpu",)
    bundles: list[Path] = field(default_factory=list)

    def prepare(self) -> None:
        """Write the models and compile the first bundle."""
        for name in MODELS:
            write(name, self.folder)
        self.compile(MODELS[0])

    def compile(self, name: str | None = None) -> None:
        """Compile a model over the bundle that may be there; the new bundle is whole."""
        model = self.folder / f"{(name or self.draw.choice(MODELS)).rpartition('/')[2]}.onnx"
        request = Request(min_slice_count=2, time_limit_s=2.0)
        bundle = api.compile(model, devices=self.devices, request=request, cache=False, force=True)
        if bundle.folder not in self.bundles:
            self.bundles.append(bundle.folder)

    def run(self) -> None:
        """Load a bundle and run it some times: the same outputs each time."""
        bundle = read_bundle(self.draw.choice(self.bundles))
        first = api.run(bundle, seed=1)
        again = api.run(bundle, seed=1, iterations=50)
        for name, array in first.outputs.items():
            assert np.array_equal(array, again.outputs[name]), name

    def verify(self) -> None:
        """Prove a bundle."""
        assert api.verify(self.draw.choice(self.bundles)).passed

    def refuse(self) -> None:
        """Meet what must be refused: a damaged bundle, a damaged model, a pin that nothing satisfies."""
        bundle = self.draw.choice(self.bundles)
        damaged = self.folder / "damaged.mosaic"
        shutil.copytree(bundle, damaged)
        weights = damaged / "plan.json"
        weights.write_bytes(weights.read_bytes().replace(b"0", b"1", 1))
        model = self.folder / "damaged.onnx"
        model.write_bytes(random_model(self.draw.randrange(1000)).SerializeToString()[:-20])
        pin = Constraints(pins=(("no such layer", "cpu"),))
        sound = self.folder / "attention.onnx"
        refused = [
            lambda: api.run(damaged),
            lambda: api.compile(model, devices=self.devices, cache=False),
            lambda: api.compile(sound, devices=self.devices, constraints=pin, cache=False, output=self.folder / "no"),
        ]
        for act in refused:
            assert _is_refused(act)
        shutil.rmtree(damaged)
        model.unlink()

    def kill(self) -> None:
        """Kill a compilation anywhere: the bundle that it replaces is the old or the new one, and nothing lives on."""
        target = self.folder / "killed.mosaic"
        if not target.exists():
            shutil.copytree(self.bundles[0], target)
        mark = uuid.uuid4().hex
        command = [COMMAND, "compile", self.folder / "attention.onnx", "-d", "cpu", "-o", target, "--force", "-q"]
        child = subprocess.Popen(
            list(map(str, command)),
            env=os.environ | {"MOSAIC_SOAK": mark, "MOSAIC_CACHE_DIR": str(self.folder / "cache")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(self.draw.uniform(0.2, 8.0))
        child.send_signal(signal.SIGKILL)
        child.wait()
        read_bundle(target)
        assert json.loads((target / "plan.json").read_text())["slices"]
        until_s = time.monotonic() + ORPHAN_LIMIT_S
        while (alive := list(_marked(mark))) and time.monotonic() < until_s:
            time.sleep(0.1)
        assert not alive
        for left in self.folder.glob(".*"):  # what the killed one was writing; its name says so
            shutil.rmtree(left) if left.is_dir() else left.unlink()

    def round(self, *, with_kill: bool = True) -> None:
        """Do each thing once, in a random order."""
        acts: list[Callable[[], None]] = [self.compile, self.run, self.run, self.verify, self.refuse]
        acts += [self.kill] if with_kill else []
        for act in self.draw.sample(acts, len(acts)):
            act()


def _is_refused(act: Callable[[], object]) -> bool:
    try:
        act()
    except MosaicError as error:
        return error.exit_code != 70
    return False


def _marked(mark: str) -> Iterator[int]:
    """Processes that were started with a mark in their environment and still live."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                yield int(process.name)
        except OSError:  # it ended, or it is another user's
            continue
