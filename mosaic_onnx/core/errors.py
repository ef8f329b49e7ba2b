"""The exceptions of mosaic-onnx: each has a message, a hint that says how to fix it, and an exit code."""

from __future__ import annotations


class MosaicError(Exception):
    """Base class of all errors meant for the user.

    Attributes:
        message: what is wrong, naming the thing (file, layer, device, key).
        hint: how to fix it; empty where there is no advice.
        exit_code: the process's exit status when the command line ends with this error.
        passes: names of the passes that it was raised in, outermost first; empty outside a pipeline.
    """

    exit_code = 70

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.passes: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = [self.message]
        if self.hint:
            words.append(f"  hint: {self.hint}")
        if self.passes:
            words.append(f"  in pass: {' > '.join(self.passes)}")
        return "\n".join(words)


class ModelError(MosaicError):
    """The model, profile, plan, bundle or input file is wrong (exit 1)."""

    exit_code = 1


class UsageError(MosaicError):
    """An argument or option is wrong: an unknown device, a bad option value (exit 2)."""

    exit_code = 2


class InfeasibleError(MosaicError):
    """No plan satisfies the constraints (exit 3); the message names a smallest conflicting set where it can."""

    exit_code = 3


class NoPlanFoundError(InfeasibleError):
    """The search ended without a plan, and without a proof that there is none (exit 6)."""

    exit_code = 6


class OutputsDifferError(MosaicError):
    """The partitioned model's outputs are not the reference's (exit 4)."""

    exit_code = 4


class BackendError(MosaicError):
    """A device, backend or measurement failed (exit 5)."""

    exit_code = 5


class DeviceError(BackendError):
    """A device failed; the others may go on without it.

    Attributes:
        device: its name; empty where nobody knows which.
    """

    def __init__(self, message: str, hint: str = "", *, device: str = "") -> None:
        super().__init__(message, hint)
        self.device = device


class InputsRefusedError(BackendError):
    """The model itself, uncut and on no device, does not run on its inputs (exit 1)."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(
            f"the model itself, before it is cut, does not run on these inputs: {message}",
            "inputs that nobody gives are made up: give real ones with --inputs, or try another --seed",
        )


class InternalError(MosaicError):
    """A bug in mosaic-onnx: an internal assumption does not hold (exit 70)."""

    exit_code = 70


def failure_line(failure: BaseException) -> str:
    """Return an exception's text as one line of at most 300 characters."""
    text = failure.message if isinstance(failure, MosaicError) else f"{type(failure).__name__}: {failure}"
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:297]}..."
