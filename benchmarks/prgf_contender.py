"""P-RGF by its authors for validate_queries.py, attack.py of github.com/thu-ml/Prior-Guided-RGF as it stands.

The file is NumPy; TensorFlow 1, which no Python of today runs, only reads its options and opens its networks, and is
stood in for, as are its networks, its images and the names that SciPy and NumPy have dropped.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import numpy as np
from numpy.typing import NDArray
from square_contender import FloatOracle
from square_subject import Subject

from robustmq_trt.evaluate.twin.twin import Twin

_SUCCESS = re.compile(r"(\d+)\.png succeed; queries: (\d+)")


@dataclass(frozen=True, kw_only=True)
class Model:
    """The network under attack, as the authors' models answer: (N, H, W, 3) or (H, W, 3) images in [0, 1]."""

    oracle: FloatOracle
    image_size: int
    num_classes: int
    predictions_is_correct: bool = True
    use_larger_step_size: bool = False
    use_smoothed_grad: bool = False

    def get_pred(self, images: NDArray[Any]) -> NDArray[np.int64]:
        """Classes, (N,)."""
        return self._scores(images).argmax(axis=1)

    def get_loss(self, images: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Cross-entropies, (N,)."""
        scores = self._scores(images).astype(np.float64)
        scores -= scores.max(axis=1, keepdims=True)
        losses: NDArray[np.float64] = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(scores)), labels]
        return losses

    def _scores(self, images: NDArray[Any]) -> NDArray[np.float32]:
        batch = images[None] if images.ndim == 3 else images
        return self.oracle(np.ascontiguousarray(batch.transpose(0, 3, 1, 2), dtype=np.float32))


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """The network whose gradients are the prior, as the authors' surrogate answers."""

    twin: Twin
    num_classes: int

    def get_grad(self, image: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """Gradient of the cross-entropy, (1, H, W, 3)."""
        return self.twin.gradient(np.float32(image[None] * 255), labels)


def queries_of(path: Path, subject: Subject, twin: Twin, **options: Any) -> NDArray[np.float64]:
    """Run the authors' attack in L-inf; give what it says each image took, inf where it failed."""
    classes = subject.engine.spec.classes
    model = Model(oracle=FloatOracle(subject), image_size=subject.pipeline.size[0], num_classes=classes)
    surrogate = Surrogate(twin=twin, num_classes=classes)
    found = np.full(len(subject.images), np.inf)
    with tempfile.TemporaryDirectory() as folder:
        flags = SimpleNamespace(norm="linfty", output_dir=folder, **options)
        with loaded(path, stand_ins(model, surrogate, subject.images, flags)) as module:
            module.main(None)
        for name, queries in _SUCCESS.findall((Path(folder) / "logging").read_text()):
            found[int(name)] = int(queries)
    return found


def stand_ins(model: Model, surrogate: Surrogate, images: Sequence[Any], flags: SimpleNamespace) -> dict[str, Any]:
    def define(name: str, default: Any, *_: Any) -> None:
        flags.__dict__.setdefault(name, default)

    tensorflow = MagicMock()
    tensorflow.flags.FLAGS = flags
    for kind in ("enum", "float", "boolean", "string", "integer"):
        setattr(tensorflow.flags, f"DEFINE_{kind}", define)
    tensorflow.gfile.Glob = lambda _: [f"{i:06}.png" for i in range(len(images))]
    misc = MagicMock()
    misc.imread = lambda name, mode: images[int(Path(name).stem)]
    misc.imresize = lambda image, size: image
    return {
        "tensorflow": tensorflow,
        "scipy": MagicMock(),
        "scipy.misc": misc,
        "models": SimpleNamespace(InceptionV3=lambda: model),
        "surrogate_model": SimpleNamespace(ResNet152=lambda **_: surrogate),
    }


@contextlib.contextmanager
def loaded(path: Path, modules: dict[str, Any]) -> Iterator[ModuleType]:
    """Give the authors' module, which prints its progress to nowhere."""
    spec = importlib.util.spec_from_file_location("reference_prgf", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    silence = contextlib.redirect_stdout(io.StringIO())
    with patch.dict(sys.modules, modules), patch.object(np, "float", float, create=True), silence:
        spec.loader.exec_module(module)
        yield module
