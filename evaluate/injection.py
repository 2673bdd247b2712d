"""Where on the way into an engine the attacker changes a picture: at the model's size, at its own size, or in its file.

Every attack searches at the model's size. For the other places its change is lifted to the picture: each pixel takes
the change of the model's pixel that it falls into, so a bound in grey levels holds for the picture as it does for the
search. What the engine then sees, and what decides, is that picture after all of the deployment's own preprocessing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from ..inputs.pipeline import Pipeline
from .attacks.protocol import Answer, AttackResult, AttackState, Goal, linf_levels
from .attacks.query_catalog import INJECTIONS
from .conditions import Condition
from .corruptions.jpeg import encode

Image = NDArray[np.uint8]
Injection = Literal["model", "source", "jpeg"]

JPEG_QUALITY = 95
"""Of the file that an attacker sends who may not send a lossless one; 4:2:0."""


def injection_of(condition: Condition) -> Injection:
    """Tell where an attack's attacker changes the picture."""
    return cast(Injection, dict(condition.words).get("inject", INJECTIONS[0]))


class Way:
    """The way of one picture from the attacker into the engine.

    Args:
        content: The picture as stored: a file, or (H, W, 3) uint8 RGB.
        pipeline: The deployment's.
        injection: ``source``: the attacker sends pixels, as in a PNG or from a camera; ``jpeg``: a JPEG file of them.

    Attributes:
        picture: (H, W, 3) uint8 RGB as decoded, at its own size.

    Raises:
        InputError: If the picture does not decode, or cannot be brought to the model's size.
    """

    def __init__(self, content: bytes | Image, pipeline: Pipeline, injection: Injection) -> None:
        self.picture = pipeline.decode(content) if isinstance(content, bytes) else content
        self._pipeline, self._injection = pipeline, injection
        self._model = pipeline.load(self.picture)
        rows, columns = pipeline.places(self.picture.shape[:2])
        self._rows, self._columns = rows[rows >= 0], columns[columns >= 0]
        top, left = int(np.argmax(rows >= 0)), int(np.argmax(columns >= 0))
        self._shown = np.s_[top : top + len(self._rows), left : left + len(self._columns)]

    def changed(self, image: Image) -> Image:
        """Give the picture with the change that ``image`` is at the model's size.

        Args:
            image: uint8 at the model's size, as attacked.

        Returns:
            uint8 of the picture's shape; no value is moved by more levels than the most moved one of ``image``.
        """
        change = image.astype(np.int16) - self._model
        lifted = change.take(self._columns, axis=1).take(self._rows, axis=0)
        lifted += self.picture[self._shown]
        changed = self.picture.copy()
        changed[self._shown] = np.clip(lifted, 0, 255, out=lifted)
        return changed

    def seen(self, picture: Image) -> Image:
        """Give what the engine sees of a picture that the attacker sends, uint8 at the model's size."""
        if self._injection == "jpeg":
            return self._pipeline.load(encode(picture, JPEG_QUALITY).tobytes())
        return self._pipeline.load(picture)


class Injected:
    """An attack whose images go the whole way into the engine; see ``AttackState``.

    Args:
        state: The attack at the model's size.
        way: Of its picture.
    """

    def __init__(self, state: AttackState, way: Way) -> None:
        self._state, self._way = state, way
        self._canvas: Image | None = None

    @property
    def goal(self) -> Goal:
        """What the engine is to answer."""
        return self._state.goal

    @property
    def done(self) -> bool:
        """True when the attack has nothing more to ask."""
        return self._state.done

    def propose(self, canvas: Image) -> None:
        """Write into ``canvas`` what the engine would see of the attack's next query."""
        if self._canvas is None:
            self._canvas = np.zeros_like(canvas)
        self._state.propose(self._canvas)
        canvas[...] = self._way.seen(self._way.changed(self._canvas))

    def tell(self, answer: Answer) -> None:
        """Take the answer to the last proposal."""
        self._state.tell(answer)

    def result(self, queries: int, reason: str | None = None) -> AttackResult:
        """Give the outcome: the image as the engine sees it, its distance that of the pictures."""
        found = self._state.result(queries, reason)
        sent = self._way.changed(found.adversarial)
        return replace(found, adversarial=self._way.seen(sent), linf=linf_levels(sent, self._way.picture))
