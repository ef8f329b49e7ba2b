"""The command that runs a module of this package in a process of its own."""

from __future__ import annotations

import sys

_WITHOUT_WORKING_FOLDER = (
    "import sys; sys.path[:] = [folder for folder in sys.path if folder]; "
    "import runpy; runpy.run_module({!r}, run_name='__main__', alter_sys=True)"
)


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module; modules in the working folder are never imported in its place.

    Python 3.11 has the option ``-P`` for that; on 3.10 the working folder is taken off the path first.
    """
    if sys.version_info >= (3, 11):
        return [sys.executable, "-P", "-m", module, *arguments]
    return [sys.executable, "-c", _WITHOUT_WORKING_FOLDER.format(module), *arguments]
