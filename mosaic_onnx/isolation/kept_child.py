"""A child process that is lent to one user after another: starting one and importing runtimes takes about a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mosaic_onnx.isolation.process import ChildDied, ChildProcess

FORGET_LIMIT_S = 10.0
_NAME = "a process that waits for its first use"
_FORGET = "mosaic_onnx.isolation.actions:forget"


class KeptChild:
    """At most one child that waits for its next user; it may be started before there is one."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        """Prepare; nothing is started yet.

        Args:
            addresses: ``module:NAME`` of each backend, by the backend's name.
        """
        self._addresses = dict(addresses)
        self._waiting: ChildProcess | None = None

    def start(self, imports: Sequence[str] = (), preload: Sequence[str] = ()) -> None:
        """Start a child unless one waits; return at once.

        Args:
            imports: modules that it imports before it is asked for anything.
            preload: names of backends whose runtimes it imports then.
        """
        if self._waiting is None:
            known = [name for name in preload if name in self._addresses]
            self._waiting = ChildProcess(_NAME, self._addresses, imports=imports, preload=known)
            self._waiting.start()

    def lend(self, name: str, addresses: Mapping[str, str]) -> ChildProcess:
        """Return the child that waits, or a new one where there is none or it does not know the backends.

        Args:
            name: what messages call it.
            addresses: of the backends that it has to serve.
        """
        if not addresses.items() <= self._addresses.items():
            return ChildProcess(name, addresses)
        child, self._waiting = self._waiting, None
        if child is not None and not child.is_running:  # a runtime ended it when it was imported
            child.close()
            child = None
        if child is None:
            return ChildProcess(name, self._addresses)
        child.name = name
        return child

    def give_back(self, child: ChildProcess) -> None:
        """Have a child that was lent release what it loaded, and keep it; one that fails to is ended."""
        if self._waiting is None and child.addresses == self._addresses:
            try:
                if "failure" not in child.ask(_FORGET, {}, FORGET_LIMIT_S, "to release what it loaded"):
                    self._waiting = child
                    return
            except ChildDied:
                pass
        child.close()

    def close(self) -> None:
        """End the child that waits; calling it twice is harmless."""
        child, self._waiting = self._waiting, None
        if child is not None:
            child.close()
