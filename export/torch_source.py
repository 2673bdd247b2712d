"""Where a PyTorch module comes from: the user's own code, torchvision, or timm. Weights load as data only."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ..core.errors import InputError, RefusedError, UnsupportedError
from .onnx_file import one_line
from .require import require

_TORCHVISION_SIZE = (224, 224)


@dataclass(frozen=True, kw_only=True)
class TorchSource:
    """A module ready for export.

    Attributes:
        module: `torch.nn.Module` in eval mode, float32, on the CPU.
        size: Image height and width it was made for, or None where nothing says so.
    """

    module: Any
    size: tuple[int, int] | None


def load_source(source: str, weights: Path | None) -> TorchSource:
    """Build the module a source names, and load weights into it.

    Args:
        source: ``"module:callable"``, ``"torchvision:NAME"`` or ``"timm:NAME"``. The first imports and runs the user's
            own Python code, found from the working folder as from any other on the path.
        weights: State dict written by `torch.save`; None takes what the callable gives, or the library's pretrained
            weights.

    Returns:
        The module and its size.

    Raises:
        InputError: If the source or the weights do not fit.
        RefusedError: If the weights file holds more than tensors: loading it would run code.
        UnsupportedError: If a package is missing.
    """
    torch = require("torch", "Export from PyTorch")
    prefix, colon, name = source.partition(":")
    if not (prefix and colon and name):
        raise InputError(f"Expected 'module:callable', 'torchvision:NAME' or 'timm:NAME', got {source!r}.")
    builders = {"torchvision": _from_torchvision, "timm": _from_timm}
    found = builders[prefix](name, weights is None) if prefix in builders else _from_callable(prefix, name)
    if not isinstance(found.module, torch.nn.Module):
        raise InputError(f"'{source}' gives a {type(found.module).__name__}, expected a torch.nn.Module.")
    if weights is not None:
        _load_weights(found.module, Path(weights), torch)
    return TorchSource(module=found.module.float().cpu().eval(), size=found.size)


def _from_callable(module_name: str, path: str) -> TorchSource:
    with _working_folder_importable():
        try:
            target: Any = import_module(module_name)
            for part in path.split("."):
                target = getattr(target, part)
        except (ImportError, AttributeError, ValueError) as error:
            raise InputError(
                f"'{module_name}:{path}' cannot be imported: {one_line(error)}. Check the name."
            ) from error
        try:
            return TorchSource(module=target(), size=None)
        except Exception as error:  # the user's own code may raise anything
            raise InputError(f"'{module_name}:{path}' raised {type(error).__name__}: {one_line(error)}.") from error


@contextmanager
def _working_folder_importable() -> Iterator[None]:
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _from_torchvision(name: str, pretrained: bool) -> TorchSource:
    models = require("torchvision.models", "A torchvision model")
    try:
        module = models.get_model(name, weights="DEFAULT" if pretrained else None)
    except Exception as error:  # unknown name, no network: torchvision has no error family of its own
        raise InputError(f"torchvision does not give '{name}': {one_line(error)}.") from error
    return TorchSource(module=module, size=_TORCHVISION_SIZE)


def _from_timm(name: str, pretrained: bool) -> TorchSource:
    timm = require("timm", "A timm model")
    try:
        module = timm.create_model(name, pretrained=pretrained)
    except Exception as error:  # unknown name, no network: timm has no error family of its own
        raise InputError(f"timm does not give '{name}': {one_line(error)}.") from error
    size = dict(getattr(module, "pretrained_cfg", None) or {}).get("input_size", (3, 224, 224))
    return TorchSource(module=module, size=(int(size[1]), int(size[2])))


def _load_weights(module: Any, path: Path, torch: Any) -> None:
    if not path.is_file():
        raise InputError(f"Weights '{path}' do not exist. Check the path.")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RefusedError(
            f"'{path}' holds more than tensors; loading it would run code from the file. "
            "Save the state dict alone: torch.save(model.state_dict(), path)."
        ) from error
    except Exception as error:  # truncated archives raise errors of several libraries
        raise InputError(f"Weights '{path}' cannot be read: {one_line(error)}.") from error
    try:
        module.load_state_dict(_state_dict(stored, path))
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"Weights '{path}' do not fit the model: {one_line(error)}.") from error


def _state_dict(stored: Any, path: Path) -> Mapping[str, Any]:
    for key in ("state_dict", "model"):
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
    if not isinstance(stored, Mapping):
        raise UnsupportedError(f"'{path}' holds a {type(stored).__name__}, expected a state dict.")
    return {str(name).removeprefix("module."): value for name, value in stored.items()}
