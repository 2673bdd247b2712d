"""TensorRT's Python module: found, never started without a GPU, its complaints collected. No version is assumed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from ..core.errors import UnsupportedError
from .cuda_driver import Gpu, find_gpu

INSTALL = "pip install 'robustmq-trt[tensorrt]'"
_OLDEST = (8, 6)
_KEPT_MESSAGES = 20


class Ready(NamedTuple):
    """What is there to build and run engines.

    Attributes:
        trt: The module.
        gpu: The GPU.
        version: The module's version.
    """

    trt: Any
    gpu: Gpu
    version: str


def ready() -> Ready:
    """Give the module, a GPU having been found first: without one, TensorRT crashes rather than complains.

    Raises:
        UnsupportedError: If there is no usable GPU, the module is not importable, or it is older than 8.6.
    """
    gpu = find_gpu()
    trt = load()
    return Ready(trt, gpu, str(trt.__version__))


def load() -> Any:
    """Import the module.

    Raises:
        UnsupportedError: If it is not importable, or older than 8.6.
    """
    try:
        trt = import_module("tensorrt")
    except Exception as error:  # a missing native library, a stub package without its libraries, ...
        reason = str(error) or type(error).__name__
        raise UnsupportedError(f"TensorRT is not importable: {reason}. Install it with: {INSTALL}") from error
    version = str(getattr(trt, "__version__", "0"))
    if version_numbers(version)[:2] < _OLDEST:
        raise UnsupportedError(f"TensorRT {version} is older than 8.6, the oldest this backend runs. Upgrade it.")
    return trt


def version_numbers(version: str) -> tuple[int, ...]:
    """Read a version's leading numbers.

    Example:
        >>> version_numbers("10.16.1.11")
        (10, 16, 1, 11)
    """
    parts = []
    for part in version.split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)


def member(enum: Any, name: str) -> Any:
    """Give an enum's member, or None where this version has none of that name."""
    return getattr(enum, name, None)


class Complaints:
    """TensorRT's warnings and errors, the last few; the module tells its reasons nowhere else."""

    def __init__(self, trt: Any) -> None:
        self.messages: list[str] = []
        self.logger: Any = _logger(trt, self.messages)

    def sentence(self) -> str:
        """Give the last errors in one line, or say that there are none."""
        errors = [text for text in self.messages if text.startswith("error: ")]
        found = [text.removeprefix("error: ").strip().rstrip(".") for text in (errors or self.messages)[-3:]]
        return "; ".join(dict.fromkeys(found)) or "TensorRT gave no reason"


def start(make: Callable[[], Any], here: Ready, complaints: Complaints) -> Any:
    """Give TensorRT's first object, a builder or a runtime.

    Raises:
        UnsupportedError: If TensorRT does not start here, most often because the driver is too old for it.
    """
    try:
        return make()
    except TypeError as error:  # how the bindings say that the library gave them nothing
        raise UnsupportedError(
            f"TensorRT {here.version} does not start on {here.gpu.name}: {complaints.sentence()}. The driver runs CUDA "
            f"up to {here.gpu.cuda}; a TensorRT built for a newer one needs a newer driver."
        ) from error


def _logger(trt: Any, messages: list[str]) -> Any:
    names = {trt.ILogger.INTERNAL_ERROR: "error", trt.ILogger.ERROR: "error", trt.ILogger.WARNING: "warning"}

    class Log(trt.ILogger):  # type: ignore[misc]  # the module has no types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if severity in names:
                messages.append(f"{names[severity]}: {' '.join(str(text).split())}")
                del messages[:-_KEPT_MESSAGES]

    return Log()


def monitor(trt: Any, report: Callable[[str, int, int], None]) -> Any:
    """Give a progress monitor that reports phase, step and number of steps, or None where this version has none."""
    base = member(trt, "IProgressMonitor")
    if base is None:
        return None
    steps: dict[str, int] = {}

    class Monitor(base):  # type: ignore[misc,valid-type]  # the module has no types
        def __init__(self) -> None:
            base.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            report(phase_name, step + 1, steps.get(phase_name, 0))
            return True

        def phase_finish(self, phase_name: str) -> None:
            steps.pop(phase_name, None)

    return Monitor()
