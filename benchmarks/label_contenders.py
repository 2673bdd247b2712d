"""The authors' label attacks for validate_labels.py, each as a function of one image and of what answers its queries.

None is a dependency and none is changed; what they import and do not use here is stood in for.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
# Takes (N, 3, H, W) float32 in [0, 1], gives (N, C) scores.
Answering = Callable[[Floats], Floats]
Contender = Callable[[Answering, Floats, int], None]
_UNUSED = {
    "rays": ("pgbar",),
    "adba": (
        *("torchvision", "torchvision.models", "torchvision.datasets", "torchvision.transforms", "matplotlib"),
        *("matplotlib.pyplot", "tqdm", "line_profiler", "dataset", "general_torch_model", "arch", "model"),
    ),
}


def load(name: str, path: Path) -> Contender:
    """Give the attack of a file of its authors."""
    module = load_module(name, path)
    return lambda answering, image, label: _RUNS[name](module, answering, image, label)


def load_module(name: str, path: Path) -> ModuleType:
    """Give a file of its authors as a module."""
    import torch

    torch.set_num_threads(1)
    torch.Tensor.cuda = lambda self, *_: self  # type: ignore[method-assign]  # the authors ask for a GPU
    for unused in _UNUSED.get(name, ()):
        sys.modules[unused] = MagicMock()
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(f"reference_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _hopskipjump(module: ModuleType, answering: Answering, image: Floats, label: int, probes: int = 100) -> None:
    class Model:
        def predict(self, pixels: Any) -> Floats:
            batch = np.float32(pixels[None] if pixels.ndim == 3 else pixels)
            return answering(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))

    np.random.seed(label)  # noqa: NPY002  # the stream that the authors draw from
    module.hsja(
        *(Model(), image.transpose(1, 2, 0)),
        constraint="linf",
        num_iterations=10**6,
        init_num_evals=probes,
        verbose=False,
    )


def _rays(module: ModuleType, answering: Answering, image: Floats, label: int) -> None:
    import torch

    class Model:
        def predict_label(self, pixels: Any) -> Any:
            return torch.from_numpy(answering(pixels.numpy()).argmax(axis=1))

    module.RayS(Model(), epsilon=0)(torch.from_numpy(image[None]), torch.tensor([label]), query_limit=10**6)


def _adba(module: ModuleType, answering: Answering, image: Floats, label: int) -> None:
    import torch

    class Model:
        def predict_label(self, pixels: Any) -> Any:
            return torch.from_numpy(answering(np.float32(pixels.numpy())).argmax(axis=1))

    settings = argparse.Namespace(channels=3, initDir=1, offspringN=2, binaryM=1, budget=10**6)
    module.ATK_ADBA(Model(), torch.from_numpy(image[None]), 0, torch.tensor([label]), 0, 0.0, 8, settings)


def _surfree(module: ModuleType, answering: Answering, image: Floats, label: int) -> None:
    import torch

    torch.manual_seed(label)

    def model(pixels: Any) -> Any:
        return torch.from_numpy(answering(pixels.numpy()))

    attack = module.SurFree(steps=10**6, max_queries=10**6, rho=0.98)
    attack(model, torch.from_numpy(image[None]), torch.tensor([label]), basis_params={"basis_type": "dct"})


_RUNS = {
    "hopskipjump": _hopskipjump,
    "hopskipjump-20": partial(_hopskipjump, probes=20),
    "rays": _rays,
    "adba": _adba,
    "surfree": _surfree,
}


def quietly(run: Callable[[], None]) -> None:
    """Run what prints its progress."""
    with contextlib.redirect_stdout(io.StringIO()):
        run()
