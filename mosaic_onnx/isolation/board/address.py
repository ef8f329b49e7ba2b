"""The address of a device on another machine: ``ssh://user@board:port/path/of/python``."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

from mosaic_onnx.core.errors import UsageError

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*|[0-9A-Fa-f:]+")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
PYTHON = "python3"


@dataclass(frozen=True)
class BoardHost:
    """A machine that the system's ssh client reaches.

    Attributes:
        name: host name or address.
        user: empty for the client's own choice.
        port: None for the client's own choice.
        python: the interpreter there that has numpy, onnx, onnxruntime and this package.
    """

    name: str
    user: str = ""
    port: int | None = None
    python: str = PYTHON

    def command(self, module: str, *arguments: str) -> list[str]:
        """Return the local command that runs a module on the board.

        Nothing is asked at the terminal (``BatchMode``): a key must be set up.
        """
        remote = shlex.join([self.python, "-m", module, *arguments])
        port = ["-p", str(self.port)] if self.port else []
        target = f"{self.user}@{self.name}" if self.user else self.name
        return ["ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", *port, "--", target, remote]


def parse_host(text: str) -> BoardHost:
    """Return the machine that a device entry's ``host`` names.

    Raises:
        UsageError: it is not an ``ssh://`` address, or ssh could read a part of it as an option.
    """
    hint = 'write it as "ssh://user@board" or "ssh://user@board:22/usr/bin/python3"'
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"host = {text!r}: {error}", hint) from None
    if parts.scheme != "ssh" or parts.query or parts.fragment or parts.password:
        raise UsageError(f"host = {text!r} is not an ssh address", hint)
    if not _HOST.fullmatch(parts.hostname or "") or (parts.username and not _USER.fullmatch(parts.username)):
        raise UsageError(f"host = {text!r} names no machine", hint)
    return BoardHost(parts.hostname or "", parts.username or "", port, parts.path or PYTHON)
