"""What a build is asked for, and what it delivers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.artifact import Card, card_path
from ..core.precision import Precision
from ..core.recipe import Recipe
from ..engines.audit import Audit

W8A8 = Recipe(precision=Precision(weights=8, activations=8))


@dataclass(frozen=True, kw_only=True)
class FloatSearch:
    """What layers kept in float are to achieve, and on which images.

    Attributes:
        max_drop: Largest drop of accuracy against the float model, as a share in (0, 1).
        data: Labelled images; None is the embedded ones, for the embedded model only.
        labels: Labels of a flat folder.
        images: Number of images drawn; None for all.
        attacks: Transfer attacks; an image counts if it is right clean and under each of them. None for clean accuracy.
        surrogate: Model the attacks are made on; None is the float model itself.
    """

    max_drop: float
    data: Path | None = None
    labels: Path | None = None
    images: int | None = None
    attacks: tuple[str, ...] = ()
    surrogate: Path | None = None


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What is to be built.

    Attributes:
        model: ONNX file, ``module:callable``, ``torchvision:NAME`` or ``timm:NAME``; None is the embedded model.
        recipe: The grid of each layer, and what is done so that few bits work.
        profile: How the QDQ file is laid out; ``trt-s8`` gives one more file, the canonical one.
        search: What layers kept in float are to achieve; None for those that the recipe names.
        calib: Calibration images; None is the embedded ones, for the embedded model only.
        calib_size: Number of images drawn from them; all if there are fewer.
        method: Calibrator.
        preset: Preprocessing, a preset's name or a TOML file.
        target: Runtime the engine is for.
        output: Folder for the files.
        ranges: A range table, ours or another tool's, to use instead of observing ranges.
        require_integer: Least integer coverage, or None.
        size: Height and width of a PyTorch model's input, where it can't be known.
        state_dict: Weights of a PyTorch model.
        seed: Seed of the draw of calibration images.
        threads: Threads of the runtime.
    """

    model: str | None = None
    recipe: Recipe = W8A8
    profile: str = "cpu-u8"
    search: FloatSearch | None = None
    calib: Path | None = None
    calib_size: int = 128
    method: str = "minmax"
    preset: str = "torchvision"
    target: str = "onnxruntime"
    output: Path = Path("robustmq-engines")
    ranges: Path | None = None
    require_integer: float | None = None
    size: tuple[int, int] | None = None
    state_dict: Path | None = None
    seed: int = 0
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class Built:
    """What came of it.

    Attributes:
        path: The integer model that ONNX Runtime runs.
        canonical: The file in the layout of TensorRT and OpenVINO where that is another one, or None.
        reference: The cleaned float model it was made from.
        card: The integer model's card.
        audit: What its layers run in.
        notes: What the user should know.
    """

    path: Path
    canonical: Path | None
    reference: Path
    card: Card
    audit: Audit
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the result as JSON data."""
        return {
            "path": str(self.path),
            "canonical": None if self.canonical is None else str(self.canonical),
            "sha256": self.card.sha256,
            "size_bytes": self.card.size_bytes,
            "precision": self.card.precision,
            "integer_coverage": self.audit.integer_coverage,
            "layers_float": len(self.audit.float_layers),
            "calibration": self.card.recipe.get("calibration"),
            "keep_float": self.card.recipe.get("keep_float"),
            "reference": str(self.reference),
            "reference_size_bytes": self.reference.stat().st_size,
            "card": str(card_path(self.path)),
            "preset": dict(self.card.preset),
            "notes": list(self.notes),
        }
