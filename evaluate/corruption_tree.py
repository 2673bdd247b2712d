"""Writes a data set corrupted, as folders ``NAME/SEVERITY/CLASS/FILE`` like those of ImageNet-C."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..core.errors import InputError
from ..core.files import write_bytes, write_json
from ..core.randomness import image_stream
from ..inputs.dataset import Dataset, Sample
from ..inputs.decode import decode
from ..inputs.pipeline import Pipeline
from .corruptions.catalog import corrupt_with, corruption_task
from .corruptions.frost import textures_sha256
from .corruptions.parameters import ParameterSet, Pixels, default_parameters
from .corruptions.storage import SUFFIX, Storage, to_file

RECIPE = "corrupt.json"
"""The file that says how a tree was made."""

_SAME_FORMAT = {"raw": (".png",), "jpeg85": (".jpg", ".jpeg")}


@dataclass(frozen=True, kw_only=True)
class TreeRecipe:
    """How a corrupted tree is made.

    Attributes:
        names: Corruptions, all of which can be made here.
        severities: 1 to 5.
        seed: Any integer; with the same preset, seed and storage ``evaluate`` shows an engine the same pixels.
        storage: ``raw`` writes PNG, ``jpeg85`` JPEG of quality 85.
        pipeline: Resizes and crops first; None keeps every image's size.
        parameters: Parameter set, or None for the one that fits each image's size.
        frost_dir: Photographs for ``frost``, or None for those of an installed imagecorruptions.
    """

    names: Sequence[str]
    severities: Sequence[int]
    seed: int = 0
    storage: Storage = "raw"
    pipeline: Pipeline | None = None
    parameters: ParameterSet | None = None
    frost_dir: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Give what every file of a tree has in common, as JSON data; names and severities may be added later."""
        return {
            "seed": self.seed,
            "storage": self.storage,
            "pipeline": self.pipeline.to_json() if self.pipeline else None,
            "parameters": self.parameters,
            "frost_sha256": textures_sha256(self.frost_dir) if "frost" in self.names else None,
        }


@dataclass(frozen=True, kw_only=True)
class TreeWritten:
    """What came of it.

    Attributes:
        written: Files written by this call.
        kept: Files that were there.
        undecodable: (name, reason) of the images that gave no file.
    """

    written: int
    kept: int
    undecodable: tuple[tuple[str, str], ...]


def write_tree(
    dataset: Dataset,
    recipe: TreeRecipe,
    output: Path,
    *,
    threads: int,
    progress: Callable[[int, int], None] | None = None,
) -> TreeWritten:
    """Write what a tree lacks; every file is whole or absent, and one that is there is not made again.

    Args:
        dataset: The images.
        recipe: What is done to them.
        output: The tree's folder.
        threads: Images worked on at once; the files do not depend on it.
        progress: Called with (images done, images).

    Raises:
        InputError: If the folder holds a tree made otherwise, or one that does not say how.
    """
    _claim(output, recipe)
    written = kept = 0
    undecodable = []
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(lambda sample: _write_sample(sample, recipe, output), dataset.samples)
        for done, (sample, result) in enumerate(zip(dataset.samples, found, strict=True), start=1):
            if isinstance(result, str):
                undecodable.append((sample.name, result))
            else:
                written, kept = written + result, kept + len(recipe.names) * len(recipe.severities) - result
            if progress is not None:
                progress(done, len(dataset))
    return TreeWritten(written=written, kept=kept, undecodable=tuple(undecodable))


def file_name(name: str, storage: Storage) -> PurePosixPath:
    """Name an image's file: as its source, with the ending of the storage added where it is another.

    Example:
        >>> str(file_name("cat/1.JPEG", "jpeg85")), str(file_name("cat/1.JPEG", "raw"))
        ('cat/1.JPEG', 'cat/1.JPEG.png')
    """
    path = PurePosixPath(name)
    return path if path.suffix.lower() in _SAME_FORMAT[storage] else path.with_name(path.name + SUFFIX[storage])


def _claim(output: Path, recipe: TreeRecipe) -> None:
    path = output / RECIPE
    wanted = recipe.to_json()
    if path.is_file():
        stated = _stated(path)
        wanted["frost_sha256"] = wanted["frost_sha256"] or stated.get("frost_sha256")
        stated["frost_sha256"] = stated.get("frost_sha256") or wanted["frost_sha256"]
        if stated != wanted:
            raise InputError(f"'{output}' holds images corrupted otherwise, see its {RECIPE}. Use another folder.")
    write_json(path, wanted)


def _stated(path: Path) -> dict[str, Any]:
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' cannot be read as JSON: {error}. Use another folder.") from error
    return stated if isinstance(stated, dict) else {}


def _write_sample(sample: Sample, recipe: TreeRecipe, output: Path) -> int | str:
    """Write one image's missing files; give their number, or the reason why there are none."""
    name = file_name(sample.name, recipe.storage)
    missing = [
        (corruption, severity, path)
        for corruption in recipe.names
        for severity in recipe.severities
        if not (path := output / corruption / str(severity) / name).exists()
    ]
    if not missing:
        return 0
    try:
        image = _pixels(sample, recipe.pipeline)
        parameters = recipe.parameters or default_parameters(*image.shape[:2])
        for corruption, severity, path in missing:
            rng = image_stream(recipe.seed, corruption_task(corruption, severity, parameters), sample.sha256)
            corrupted = corrupt_with(image, corruption, severity, rng, parameters, frost_dir=recipe.frost_dir)
            write_bytes(path, to_file(corrupted, recipe.storage))
    except InputError as error:
        return str(error)
    return len(missing)


def _pixels(sample: Sample, pipeline: Pipeline | None) -> Pixels:
    """Give an image in red, green, blue, at the size it is corrupted in."""
    content = sample.read()
    if pipeline is None:
        return decode(content) if isinstance(content, bytes) else content
    image = pipeline.load(content)
    return image if pipeline.colour == "rgb" else image[..., ::-1]
