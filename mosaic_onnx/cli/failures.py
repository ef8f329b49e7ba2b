"""From a command's end to an exit code: errors as text or JSON, interruptions, closed pipes."""

from __future__ import annotations

import errno
import gc
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import typer

from mosaic_onnx.cli.console import OutputClosed
from mosaic_onnx.core.errors import MosaicError
from mosaic_onnx.core.text.suggestions import did_you_mean
from mosaic_onnx.core.text.terminal import brief

INTERRUPTED = 130
BUG = 70
UNWRITABLE = 2
OUTPUT_CLOSED = 141
"""The exit code of a program that ended by SIGPIPE, as other tools give when ``head`` has read enough."""
_NOT_WRITTEN = {
    errno.ENOSPC: "make room on the disk, or name another output",
    errno.EDQUOT: "make room within the quota, or name another output",
    errno.EFBIG: "name an output on a file system that takes larger files",
    errno.EIO: "the disk fails: name another output",
    errno.EROFS: "name an output on a file system that can be written",
    errno.EACCES: "name an output in a folder that you may write",
}
COLLECT_AFTER = 200_000
"""Objects that a command may create before Python's garbage collector runs: at its default of 700, compiling a graph of
100,000 nodes spends a sixth of its time there."""
USAGE_ERRORS: type[Any] = typer.BadParameter.__mro__[2]
"""The base class of typer's errors for wrong arguments; typer does not export it by a stable name."""


def run_guarded(call: Callable[[], object], arguments: Sequence[str]) -> int:
    """Run a command and return its exit code.

    Args:
        call: the command; it may raise anything.
        arguments: the command line, which says how errors are shown (``--json``, ``-v``).
    """
    try:
        with _few_collections():
            result = call()
        sys.stdout.flush()
        if result == INTERRUPTED:  # typer turns Ctrl-C into an exit code of its own
            raise KeyboardInterrupt
        return result if isinstance(result, int) else 0
    except MosaicError as error:
        return _fail(arguments, error.message, error.hint, error.exit_code, error.passes)
    except (typer.Exit, SystemExit) as stop:
        return _code_of(stop)
    except (KeyboardInterrupt, typer.Abort):
        return _fail(arguments, "interrupted", _kept(arguments), INTERRUPTED)
    except (OutputClosed, BrokenPipeError):
        return _end_quietly()
    except OSError as error:
        hint = _NOT_WRITTEN.get(error.errno or 0, "")
        text = f"{error.filename or 'input/output'}: {error.strerror or error}"
        return _fail(arguments, text, hint, UNWRITABLE if hint else 1)
    except MemoryError as error:
        hint = "the model or file asks for more than there is: is it the right one? close other programs, or take less"
        return _fail(arguments, f"there is too little memory: {error or 'nothing more is given'}", hint, 1)
    except USAGE_ERRORS as error:
        return _refuse_usage(arguments, error)
    except Exception as error:
        if os.environ.get("MOSAIC_TRACEBACK") or {"-v", "--verbose"} & set(arguments):
            traceback.print_exc()
        hint = "this is a bug in mosaic-onnx: please report it with the traceback that -v prints"
        return _fail(arguments, f"{type(error).__name__}: {error}", hint, BUG)


def _code_of(stop: typer.Exit | SystemExit) -> int:
    """Return an exit's code; typer exits with 1 where a pipe is closed while it prints help."""
    code = stop.exit_code if isinstance(stop, typer.Exit) else stop.code
    if isinstance(stop, SystemExit) and isinstance(stop.__context__, BrokenPipeError):
        return _end_quietly()
    return code if isinstance(code, int) else int(code is not None)


def _end_quietly() -> int:
    """Let nothing more be written to a closed stdout, the interpreter's last flush included."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OUTPUT_CLOSED


def _kept(arguments: Sequence[str]) -> str:
    """Return what is true of the measurements of an interrupted command."""
    command = next((word for word in arguments if not word.startswith("-")), "")
    if command not in ("profile", "compile", "schedule"):
        return ""
    if "--no-cache" in arguments:
        return "nothing is kept with --no-cache: without it, the same command goes on where it stopped"
    return "what was measured is kept: run the same command again to go on"


def _refuse_usage(arguments: Sequence[str], error: Any) -> int:
    """Show a wrong argument; a call without any shows the help alone."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message())
        return UNWRITABLE
    command = error.ctx.command_path if error.ctx else "mosaic-onnx"
    message = error.format_message().replace("Value error, ", "")
    return _fail(arguments, message, _nearest_choice(message) or f"{command} --help", 2)


def _nearest_choice(message: str) -> str:
    """Return which of the choices of an option a wrong word comes near to; empty where there are none."""
    found = re.search(r"'([^']*)' is not one of ('.*')", message)
    if found is None:
        return ""
    hint = did_you_mean(found[1], re.findall(r"'([^']*)'", found[2]))
    return hint if hint.startswith("did you mean") else ""


@contextmanager
def _few_collections() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _fail(arguments: Sequence[str], message: str, hint: str, exit_code: int, passes: tuple[str, ...] = ()) -> int:
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
    print(f"error: {brief(message)}", file=sys.stderr)
    if hint:
        print(f"  hint: {brief(hint)}", file=sys.stderr)
    if passes:
        print(f"  in pass: {' > '.join(passes)}", file=sys.stderr)
    return exit_code
