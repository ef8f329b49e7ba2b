"""A process that has imported what the jobs on untrusted models need, and forks a child for each job.

Importing takes longer than most jobs. It never sees a model: only its children do, each under its own limits.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
import traceback

from mosaic_onnx.core.process.parent_death import die_with_parent
from mosaic_onnx.loading import child

_IMPORTS = ("onnx", "onnxruntime", "mosaic_onnx.loading.checks", "mosaic_onnx.loading.trial")
FILE_COUNT = 3
"""Files that come with each request: the request, the answer, and what the child says (standard error)."""


def main() -> int:
    """Serve the socket that the first argument names by its number, until the parent closes it.

    Each message is one byte with the three files of a job. The answers are two lines: the child's process number, and
    its exit status when it has ended (negative for a signal).
    """
    channel = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent(int(sys.argv[2]))
    for module in _IMPORTS:
        importlib.import_module(module)
    own = os.getpid()
    while True:
        message, files, _, _ = socket.recv_fds(channel, 1, FILE_COUNT)
        if not message:
            return 0
        number = os.fork()
        if number == 0:
            channel.close()
            _run(files, own)
        for file in files:
            os.close(file)
        channel.sendall(b"%d\n" % number)
        _, status = os.waitpid(number, 0)
        channel.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _run(files: list[int], parent: int) -> None:
    """Run a job in a forked child, and end it."""
    status = 1
    try:
        os.setsid()  # a group of its own, which is killed whole at a limit
        for standard, file in enumerate(files):
            os.dup2(file, standard)
            os.close(file)
        status = child.main(parent)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
