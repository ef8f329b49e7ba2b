"""The command line: parse, call the API, print. Heavy modules are imported by the commands that need them."""

from __future__ import annotations

import errno
import gc
import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer

from mosaic_onnx.cli import building, caching, doctor, exporting, npu, reporting, running, scheduling, studying, timing
from mosaic_onnx.core.errors import MosaicError

app = typer.Typer(
    name="mosaic-onnx",
    help="Partition an ONNX model across the unequal devices of a machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for room in (building, reporting, doctor, running, timing, exporting, scheduling, studying):
    room.register(app)
app.add_typer(caching.app, name="cache")
app.add_typer(npu.app, name="npu")

INTERRUPTED = 130
BUG = 70
UNWRITABLE = 2
_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
COLLECT_AFTER = 200_000
"""Objects that a command may create before Python's garbage collector runs: at its default of 700, compiling a graph of
100,000 nodes spends a sixth of its time there."""
USAGE_ERRORS: type[Any] = typer.BadParameter.__mro__[2]
"""The base class of typer's errors for wrong arguments; typer does not export it by a stable name."""


def main() -> None:
    """Run ``mosaic-onnx`` and exit: the entry point."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line.

    Args:
        arguments: the words after the program's name.

    Returns:
        The exit code: 0 ok, 1 model or input, 2 usage, 3 infeasible, 4 outputs differ, 5 backend or profiling
        failed, 70 a bug, 130 interrupted.
    """
    try:
        with _few_collections():
            result: object = app(arguments, prog_name="mosaic-onnx", standalone_mode=False)
        sys.stdout.flush()
        if result == INTERRUPTED:  # typer turns Ctrl-C into an exit code of its own
            raise KeyboardInterrupt
        return result if isinstance(result, int) else 0
    except MosaicError as error:
        return _fail(arguments, error.message, error.hint, error.exit_code, error.passes)
    except typer.Exit as stop:
        return int(stop.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _fail(
            arguments, "interrupted", "what was measured is kept: run the same command again to go on", INTERRUPTED
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        code = UNWRITABLE if error.errno in _NOT_WRITTEN else 1
        return _fail(arguments, f"{error.filename or 'input/output'}: {error.strerror or error}", "", code)
    except USAGE_ERRORS as error:
        return _fail(arguments, error.format_message(), "mosaic-onnx --help, or --help after a command", 2)
    except Exception as error:
        if os.environ.get("MOSAIC_TRACEBACK") or {"-v", "--verbose"} & set(arguments):
            traceback.print_exc()
        hint = "this is a bug in mosaic-onnx: please report it with the traceback that -v prints"
        return _fail(arguments, f"{type(error).__name__}: {error}", hint, BUG)


@contextmanager
def _few_collections() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _fail(arguments: list[str], message: str, hint: str, exit_code: int, passes: tuple[str, ...] = ()) -> int:
    if "--json" in arguments:
        fields: dict[str, Any] = {
            "schema": "mosaic-onnx/error/1",
            "error": message,
            "hint": hint,
            "exit_code": exit_code,
        }
        if passes:
            fields["passes"] = list(passes)
        with suppress(OSError):  # stdout itself may be closed or full
            print(json.dumps(fields, indent=1))
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"  hint: {hint}", file=sys.stderr)
    if passes:
        print(f"  in pass: {' > '.join(passes)}", file=sys.stderr)
    return exit_code
