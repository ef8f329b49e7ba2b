"""Record a terminal: ``python -m docs.generator.record_terminal -o docs/terminal.md`` (needs tmux).

Each command is typed into a real terminal of 80 and of 120 columns; the page holds what stood on the screen when the
command was done. Times and sizes are those of the machine that records.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
WIDTHS = (80, 120)
COMMANDS = (
    "mosaic-onnx devices",
    "mosaic-onnx doctor",
    "mosaic-onnx compile squeezenet.onnx -d hikey970 -o hikey.mosaic",
    "mosaic-onnx explain hikey.mosaic",
    "mosaic-onnx plan hikey.mosaic/profile.json --min-slices 3",
    "mosaic-onnx show hikey.mosaic",
)
PROMPT = "$ "
LIMIT_S = 240.0


class Terminal:
    """A tmux session of one width, without the user's own settings."""

    def __init__(self, columns: int, folder: Path) -> None:
        self.name = f"mosaic-record-{os.getpid()}-{columns}"
        self._tmux("new-session", "-d", "-x", str(columns), "-y", "50", "-c", str(folder), "env", *_environment(), "sh")
        self._tmux("set-option", "history-limit", "5000")
        time.sleep(0.5)

    def run(self, command: str) -> str:
        """Return what a command left on the screen, its own line first.

        Raises:
            TimeoutError: it was not done in ``LIMIT_S``.
            RuntimeError: it failed.
        """
        self._tmux("send-keys", "clear", "Enter")
        time.sleep(0.3)
        self._tmux("clear-history")
        self._tmux("send-keys", "-l", command)
        self._tmux("send-keys", "Enter")
        end_s = time.monotonic() + LIMIT_S
        while time.monotonic() < end_s:
            time.sleep(0.5)
            lines = self._tmux("capture-pane", "-p", "-S", "-").rstrip().splitlines()
            if len(lines) > 1 and lines[-1].rstrip() == PROMPT.strip():
                return _without_failure(command, [line.rstrip() for line in lines[:-1]])
        raise TimeoutError(f"{command}: not done after {LIMIT_S:.0f} s")

    def close(self) -> None:
        """End the session."""
        self._tmux("kill-session", "-t", self.name)

    def _tmux(self, command: str, *words: str) -> str:
        target = ["-s", self.name] if command == "new-session" else ["-t", self.name]
        given = [*target, *words] if "-t" not in words else list(words)
        made = ["tmux", "-L", "mosaic-record", "-f", "/dev/null", command, *given]
        return subprocess.run(made, check=True, capture_output=True, text=True).stdout


def _without_failure(command: str, lines: list[str]) -> str:
    """Return the lines as one text.

    Raises:
        RuntimeError: one of them is an error; a page of failures is worse than none.
    """
    if any(line.startswith("error:") for line in lines):
        raise RuntimeError("\n".join([f"{command} failed:", *lines]))
    return "\n".join(lines)


def _environment() -> list[str]:
    here = Path(sys.executable).parent
    return [f"PATH={here}:{os.environ['PATH']}", f"PS1={PROMPT}", "NO_COLOR=1", "TERM=tmux-256color", "ENV="]


def page_of(recorded: dict[int, list[str]]) -> str:
    """Return the page in Markdown."""
    parts = [
        "# A recorded terminal\n",
        "Typed into a real terminal (tmux) by [docs/generator/record_terminal.py](generator/record_terminal.py), which "
        "anybody can run again; nothing is edited. The HiKey 970 is simulated.\n",
    ]
    for columns, screens in recorded.items():
        parts.append(f"## {columns} columns\n")
        parts += [f"```text\n{screen}\n```\n" for screen in screens]
    return "\n".join(parts)


def record(folder: Path) -> dict[int, list[str]]:
    """Return by width what each command left on the screen."""
    model = [sys.executable, str(ROOT / "examples/zoo.py"), "squeezenet", "-o", str(folder / "squeezenet.onnx")]
    subprocess.run(model, check=True, capture_output=True)
    found = {}
    for columns in WIDTHS:
        terminal = Terminal(columns, folder)
        try:
            found[columns] = [terminal.run(command) for command in COMMANDS]
        finally:
            terminal.close()
        shutil.rmtree(folder / "hikey.mosaic")
    return found


def without_places(page: str, folder: Path) -> str:
    """Return the page without the names of this machine's folders."""
    return re.sub(re.escape(str(folder)) + "/?", "", page)


def main() -> None:
    """Record and write the page."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = without_places(page_of(record(Path(folder))), Path(folder))
    words.output.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
