import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from mosaic_onnx.core.process.worker_pool import worker_pool
from tests.unit.isolation.test_process import is_alive

SCRIPT = """
from mosaic_onnx.core.process.worker_pool import worker_pool
print("begun")
with worker_pool(2) as pool:
    print(sum(pool.map(abs, [-1, -2, -3])))
"""
WAITING_SCRIPT = """
import os, signal
from mosaic_onnx.core.process.worker_pool import worker_pool
with worker_pool(2) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    signal.pause()
"""


def test_a_script_without_a_guard_of_its_main_module_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["begun", "6"]
    assert done.stderr == ""


def test_workers_are_prepared_before_their_first_task() -> None:
    with worker_pool(1, os.putenv, ("MOSAIC_TEST_PREPARED", "yes")) as pool:
        done = pool.submit(subprocess.getoutput, "echo $MOSAIC_TEST_PREPARED")
        assert done.result(timeout=60) == "yes"


def test_a_worker_that_is_killed_breaks_the_pool_and_hangs_nobody() -> None:
    with worker_pool(1) as pool:
        worker = pool.submit(os.getpid).result(timeout=60)
        asked = pool.submit(signal.pause)
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            asked.result(timeout=60)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(WAITING_SCRIPT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        process.kill()
    until_s = time.monotonic() + 30
    while is_alive(worker):
        assert time.monotonic() < until_s
        time.sleep(0.05)
