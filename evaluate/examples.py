"""A few of the images that engines were shown, kept for the report."""

from __future__ import annotations

import base64
from collections.abc import Collection

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.store import Store
from .conditions import Condition

EXAMPLES = 8
EXAMPLE_PREFIX = "example"


class ExampleGallery:
    """Keeps the first images of the data set under chosen conditions in the results file.

    Attributes:
        wanted: Labels of the conditions to keep.
    """

    def __init__(self, store: Store, wanted: Collection[str], *, count: int = EXAMPLES) -> None:
        self.wanted = frozenset(wanted)
        self._store, self._count = store, count

    def keep(self, condition: Condition, engine: str, positions: NDArray[np.int64], images: NDArray[np.uint8]) -> None:
        """Keep those of the (N, H, W, 3) uint8 images that stand first in the data set."""
        if condition.label not in self.wanted:
            return
        for position, image in zip(positions.tolist(), images, strict=True):
            if position < self._count:
                self._store.put_document(_key(condition.label, engine, position), png_base64(image))


def kept_example(store: Store, condition: str, engine: str, position: int) -> str | None:
    """Give an image as base64 PNG, as shown to one engine or else to all of them; None where none was kept."""
    for name in (engine, "*"):
        found = store.document(_key(condition, name, position))
        if found is not None:
            return str(found)
    return None


def png_base64(image: NDArray[np.uint8]) -> str:
    """Encode a (H, W, 3) uint8 RGB image as PNG in base64."""
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    return base64.b64encode(encoded.tobytes()).decode("ascii")


def _key(condition: str, engine: str, position: int) -> str:
    return f"{EXAMPLE_PREFIX}/{condition}/{engine}/{position}"
