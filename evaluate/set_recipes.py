"""What the pixels of a prepared set depend on, as JSON data: stored images, preprocessing, and what is done to them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError
from ..inputs.catalog import PRESETS
from ..inputs.dataset import Sample
from ..inputs.pipeline import Pipeline
from .conditions import Condition
from .corruptions.catalog import corruption_task
from .corruptions.frost import textures_sha256
from .corruptions.parameters import default_parameters

if TYPE_CHECKING:
    from .chunk import Chunk
    from .plan import Plan, Run

# A pipeline's settings that matter behind the image at model size alone.
_BEHIND = frozenset({"name", "colour", "mean", "std", "layout", "dtype"})


def loading(samples: Sequence[Sample], pipeline: Pipeline, quality: int | None = None) -> dict[str, Any]:
    """Give what images depend on that a pipeline loads.

    Args:
        samples: The stored images, in order.
        pipeline: Their preprocessing; what it does behind the image at model size does not count.
        quality: JPEG quality they are stored at once more before; None for the files as they are.
    """
    settings = {key: value for key, value in pipeline.to_json().items() if key not in _BEHIND}
    return {"images": [_stored(sample) for sample in samples], "pipeline": settings, "quality": quality}


def check_unchanged(samples: Sequence[Sample]) -> None:
    """Refuse files that are others than when they were hashed: what is kept of them would be found as the old ones'.

    Raises:
        InputError: If there is one.
    """
    for sample in samples:
        if replace(sample).sha256 != sample.sha256:  # a copy reads its file again
            raise InputError(f"'{sample.name}' changed while it was evaluated. Start again, in another run folder.")


def showing(run: Run, condition: Condition, chunk: Chunk, names: Collection[str]) -> dict[str, Any]:
    """Give what the images of a corruption or a preset depend on.

    Args:
        run: Its first target says how images are loaded; its plan how they are corrupted.
        condition: A corruption or a preset that can be had here.
        chunk: The stored images.
        names: Those of them that load.
    """
    samples = [sample for sample in chunk.dataset.samples if sample.name in names]
    pipeline = run.targets[0].pipeline
    if condition.kind == "preset":
        return loading(samples, pipeline.with_geometry_of(PRESETS[condition.name]))
    return {**loading(samples, pipeline), **_corrupting(run.plan, condition, pipeline.size)}


def _corrupting(plan: Plan, condition: Condition, size: tuple[int, int]) -> dict[str, Any]:
    task = corruption_task(condition.name, condition["severity"], default_parameters(*size))
    frost = textures_sha256(plan.frost_dir) if condition.name == "frost" else None
    return {"corruption": task, "seed": plan.seed, "storage": plan.storage, "frost": frost}


def _stored(sample: Sample) -> list[Any]:
    """Name a stored image: the hash of pixels does not tell their shape, and a declared hash refuses a file."""
    shape = None if isinstance(sample.source, Path) else list(sample.source.shape)
    return [sample.sha256, sample.declared_sha256, shape]
