"""Optional packages: imported where they are used, with the install line when they are missing."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ..core.errors import UnsupportedError

_INSTALL = {
    "onnxruntime": "pip install 'robustmq-trt[cpu]'",
    "torch": "pip install 'robustmq-trt[torch]'",
    "onnxscript": "pip install 'robustmq-trt[torch]'",
    "torchvision": "pip install torchvision",
    "timm": "pip install timm",
}


def require(module: str, purpose: str) -> ModuleType:
    """Import an optional package, or say what it is for and how to get it.

    Args:
        module: Dotted module name, e.g. ``"onnxruntime.quantization"``.
        purpose: What needs it, as the subject of the sentence, e.g. ``"Quantization"``.

    Returns:
        The imported module.

    Raises:
        UnsupportedError: If the package is not installed, or does not import.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ImportError as error:
        install = _INSTALL.get(package, f"pip install {package}")
        raise UnsupportedError(f"{purpose} needs `{package}`, which does not import: {error}. {install}") from error
