"""The image-scaling attack: a large picture of one thing that is resized to another, and who falls for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, RobustMQError
from ..core.files import sha256_bytes
from ..core.record import Record
from ..core.statistics import Interval, paired_bootstrap
from ..inputs.dataset import Dataset, Sample
from ..inputs.geometry import Layout, lay_out
from ..inputs.pipeline import Pipeline
from .decoded_sets import Images, Way
from .finished_cells import FinishedCells
from .rates import failed, missing, record, share
from .scaling_leverage import VISIBLE, Matrix, resize_matrix
from .target import Target, answer, verify

PICTURES = "pictures"
"""The engine name of what is said about the planted pictures themselves."""

_TURNS = 100
_CLOSE = 0.5  # levels: what rounding to whole levels moves anyway

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a preset sees of a picture of one size.

    Attributes:
        rows: (h, H) float64, the matrix that makes the model's rows of the picture's.
        columns: (w, W) float64, likewise.
    """

    rows: Matrix
    columns: Matrix

    @classmethod
    def of(cls, pipeline: Pipeline, height: int, width: int) -> Sight:
        """Find the matrices of a preset, resize and crop together, for pictures of a size.

        Raises:
            InputError: If the preset enlarges such a picture, or puts a border around it.
        """
        layout = _layout(pipeline, height, width)
        if layout.top < 0 or layout.left < 0:
            raise InputError(
                f"Preset '{pipeline.name}' puts a border around pictures. Attack one that fills its input."
            )
        rows = resize_matrix(pipeline.resize, height, layout.height, top=layout.top, count=pipeline.size[0])
        if (height, layout.height, layout.top) == (width, layout.width, layout.left):
            return cls(rows=rows, columns=rows)
        columns = resize_matrix(pipeline.resize, width, layout.width, top=layout.left, count=pipeline.size[1])
        return cls(rows=rows, columns=columns)


def _layout(pipeline: Pipeline, height: int, width: int) -> Layout:
    return lay_out(
        (height, width),
        pipeline.size,
        geometry=pipeline.geometry,
        crop_fraction=pipeline.crop_fraction,
        size_rounding=pipeline.size_rounding,
        crop_rounding=pipeline.crop_rounding,
    )


def plant(picture: Images, wanted: Images, sight: Sight) -> Images:
    """Change a large picture as little as possible so that a preset makes another picture of it.

    The nearest point, in squares, of the pictures that are resized to ``wanted`` and lie in 0..255, by accelerated
    ascent of the dual; the first step is the closed form ``W^T (W W^T)^-1``, and it is the last where nothing is
    clipped. Only pixels that the preset sees are touched. Rounded at the end, so that the result can be stored. Where
    the preset's kernel cannot make ``wanted`` of any picture, the result comes as near as the turns allow.

    Args:
        picture: (H, W, 3) uint8, what people see.
        wanted: (h, w, 3) uint8, what the model is to see.
        sight: The preset's matrices for this size.

    Returns:
        (H, W, 3) uint8.

    Reference:
        Xiao et al. 2019 (USENIX Security), eq. 2-4, solved for both directions at once; Nesterov 1983 for the ascent.
    """
    seen = [np.flatnonzero(np.abs(matrix).max(axis=0) >= VISIBLE) for matrix in (sight.rows, sight.columns)]
    rows, columns = sight.rows[:, seen[0]], sight.columns[:, seen[1]]
    window = np.ix_(seen[0], seen[1])
    planted = picture.copy()
    for channel in range(3):
        start = picture[..., channel][window].astype(np.float64)
        found = _nearest(start, wanted[..., channel].astype(np.float64), rows, columns)
        planted[..., channel][window] = np.rint(found).astype(np.uint8)
    return planted


def _nearest(start: Floats, wanted: Floats, rows: Matrix, columns: Matrix) -> Floats:
    """Climb the dual: one price per resized pixel; the picture is always the start plus the prices' shadow, clipped."""
    step_rows, step_columns = np.linalg.pinv(rows @ rows.T), np.linalg.pinv(columns @ columns.T)
    prices = before = np.zeros_like(wanted)
    inside = start
    for turn in range(_TURNS):
        ahead = prices + turn / (turn + 3) * (prices - before)
        inside = np.clip(start + rows.T @ ahead @ columns, 0, 255)
        gap = wanted - rows @ inside @ columns.T
        if np.abs(gap).max() < _CLOSE:
            break
        before, prices = prices, ahead + step_rows @ gap @ step_columns
    return inside


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two pictures of different classes.

    Attributes:
        large: (H, W, 3) uint8, what people see.
        label: Its class.
        other: (H', W', 3) uint8 of another class and any size, whose prepared version the model is to see.
        other_label: Its class.
    """

    large: Images
    label: int
    other: Images
    other_label: int

    @property
    def key(self) -> list[Any]:
        """What the pictures are, as JSON data."""
        sides = ((self.large, self.label), (self.other, self.other_label))
        return [[list(image.shape), sha256_bytes(image.tobytes()), label] for image, label in sides]


def scaling_pairs(dataset: Dataset, pipeline: Pipeline, *, side: int) -> list[Pair]:
    """Make pairs of a data set's images, the first with the second and so on; those of one class are left out.

    Data sets hold few large pictures, so the large one is the middle square of a stored image, enlarged (cubic).

    Args:
        dataset: Labelled images; one that does not decode takes its partner with it.
        pipeline: Its decoder is used.
        side: Height and width of the large pictures.
    """
    found = []
    for first, second in zip(dataset.samples[::2], dataset.samples[1::2], strict=False):
        if first.label == second.label:
            continue
        with suppress(InputError):
            large, other = (_square(_decoded(sample, pipeline)) for sample in (first, second))
            enlarged = cv2.resize(large, (side, side), interpolation=cv2.INTER_CUBIC)
            pair = Pair(large=enlarged, label=first.label, other=other, other_label=second.label)
            found.append(pair)
    return found


def _decoded(sample: Sample, pipeline: Pipeline) -> Images:
    content = sample.read()
    return pipeline.decode(content) if isinstance(content, bytes) else content


def _square(image: Images) -> Images:
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def scaling_records(
    targets: Sequence[Target],
    pairs: Sequence[Pair],
    ways: Sequence[Way],
    *,
    seed: int = 0,
    finished: FinishedCells | None = None,
) -> list[Record]:
    """Plant pictures for every preset, store them as PNG, and serve each through every preset.

    Condition ``A, served B``: planted for preset A, decoded from the PNG's bytes and prepared by B; off the diagonal B
    is a defence, whether meant as one or not. Metrics: ``attack_success``, the engine names the planted class, and
    ``survived``, it still names the class people see, both over the pairs whose two pictures B shows it unplanted and
    it gets right; ``pixel_error``, mean distance in levels between what A shows and what was wanted (A = B only);
    ``source_change``, root mean square change of the large picture in levels, and ``changed_pixels``, its share of
    pixels touched: engine ``PICTURES``, condition ``A``, for no engine has a part in them. A preset whose package is
    not installed, and a cell whose engine fails, are records of n 0, the reason a flag.

    Args:
        targets: The engines.
        pairs: At least one, all large pictures of one size.
        ways: The presets; the ways' names are unique.
        seed: Seed of the bootstrap behind the intervals of means.
        finished: Where what is said about a preset's pictures, and about an engine that they are served to, is looked
            for, and kept; None for nowhere.

    Raises:
        InputError: If there is no pair, or a preset cannot be attacked at this size.
    """
    if not pairs:
        raise InputError("No two pictures of different classes were given. Pass more images.")
    found = [
        missing(PICTURES, way.name, "source_change", reason, seed) for way in ways if (reason := way.pipeline.missing)
    ]
    able = [way for way in ways if not way.pipeline.missing]
    sights = {way.name: Sight.of(way.pipeline, *pairs[0].large.shape[:2]) for way in able}
    judges = [_Judge(target, pairs, seed) for target in targets]
    finished = finished or FinishedCells()
    common = {"study": "scaling", "pairs": [pair.key for pair in pairs], "seed": seed}
    for way in able:
        planted = cache(partial(_planted, way, pairs, sights[way.name]))  # made when a cell is not finished
        files = cache(partial(_files, planted))
        cell = {**common, "planted": _key(way)}
        found += finished.records(cell, partial(_cost, way, pairs, planted, seed))
        for served in able:
            shown = cache(partial(_shown, files, served))
            for judge in judges:
                pair = {**cell, "served": _key(served), "target": judge.target.key}
                measure = partial(judge.records, f"{way.name}, served {served.name}", shown, served)
                found += finished.records(pair, measure)
    return found


def _key(way: Way) -> list[Any]:
    return [way.name, way.pipeline.to_json()]


def _planted(way: Way, pairs: Sequence[Pair], sight: Sight) -> list[Images]:
    return [plant(pair.large, way.pipeline.load(pair.other), sight) for pair in pairs]


def _files(planted: Callable[[], Sequence[Images]]) -> list[bytes]:
    return [cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes() for image in planted()]


def _shown(files: Callable[[], Sequence[bytes]], served: Way) -> Images:
    return np.stack([served.pipeline.load(file) for file in files()])


class _Judge:
    """Says what one engine makes of planted pictures."""

    def __init__(self, target: Target, pairs: Sequence[Pair], seed: int) -> None:
        self.target, self._pairs, self._seed = target, pairs, seed
        self._label = np.array([pair.label for pair in pairs], np.int64)
        self._other_label = np.array([pair.other_label for pair in pairs], np.int64)
        self._clean: dict[str, NDArray[np.bool_]] = {}

    def records(self, condition: str, shown: Callable[[], Images], served: Way) -> list[Record]:
        pictures = shown()
        try:
            both, found = self._both_right(served), answer(self.target, pictures)
            verify(self.target)
        except RobustMQError as error:
            return [failed(self.target.name, condition, "attack_success", error, self._seed)]
        shares = {
            "attack_success": share(found.right(self._other_label)[both]),
            "survived": share(found.right(self._label)[both]),
        }
        return [
            record(self.target.name, condition, metric, interval, self._seed, flags=found.flags)
            for metric, interval in shares.items()
        ]

    def _both_right(self, way: Way) -> NDArray[np.bool_]:
        """Tell which pairs the engine gets right twice when nothing is planted."""
        if way.name not in self._clean:
            large, other = (
                answer(self.target, np.stack([way.pipeline.load(picture) for picture in pictures]))
                for pictures in ([pair.large for pair in self._pairs], [pair.other for pair in self._pairs])
            )
            self._clean[way.name] = large.right(self._label) & other.right(self._other_label)
        return self._clean[way.name]


def _cost(way: Way, pairs: Sequence[Pair], planted: Callable[[], Sequence[Images]], seed: int) -> Iterator[Record]:
    sides = list(zip(pairs, planted(), strict=True))
    moved = [image.astype(np.float64) - pair.large for pair, image in sides]
    reached = [way.pipeline.load(image).astype(np.float64) - way.pipeline.load(pair.other) for pair, image in sides]
    figures: Mapping[str, tuple[str, list[float]]] = {
        "source_change": ("levels", [float(np.sqrt(np.square(change).mean())) for change in moved]),
        "changed_pixels": ("share", [float(change.any(axis=2).mean()) for change in moved]),
        "pixel_error": ("levels", [float(np.abs(error).mean()) for error in reached]),
    }
    for metric, (unit, values) in figures.items():
        yield record(PICTURES, way.name, metric, _mean(values, seed), seed, unit=unit)


def _mean(values: Sequence[float], seed: int) -> Interval:
    return paired_bootstrap(np.array(values), np.zeros(len(values)), seed=seed)
