"""The diagnosis of engines whose contract is known: each knows ten patterns, seen in one way only."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.core.manifest import RANGES
from robustmq_trt.engines.audit import Audit
from robustmq_trt.engines.protocol import EngineSpec
from robustmq_trt.evaluate.diagnosis import diagnose
from robustmq_trt.evaluate.score_kind import log_probabilities, score_kind
from robustmq_trt.inputs.catalog import find_preset

CLASSES, SIDE = 10, 6
_RNG = np.random.default_rng(11)
PATTERNS = _RNG.integers(0, 256, (CLASSES, SIDE, SIDE, 3))
LABELS = np.arange(40) % CLASSES
IMAGES = np.clip(PATTERNS[LABELS] + _RNG.normal(0, 20, (40, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
PIPELINE = find_preset("torchvision").for_size(SIDE, SIDE)


class Knows:
    """Undoes its own normalisation, clips as a network saturates, and scores by the distance to each pattern."""

    def __init__(self, name: str, colour: str, offset: int, kind: str = "logits") -> None:
        self._mean, self._std = (np.array(triple) for triple in RANGES[name])
        self._colour, self._offset, self._kind = colour, offset, kind
        self.spec = EngineSpec(
            input_name="x",
            height=SIDE,
            width=SIDE,
            channels=3,
            layout="nchw",
            dtype="float32",
            fixed_batch=None,
            classes=CLASSES + offset,
            output_kind="logits",
        )

    def infer(self, batch: Any) -> Any:
        images = batch.transpose(0, 2, 3, 1).astype(np.float64)
        pixels = np.clip((images[..., ::-1] if self._colour == "bgr" else images) * self._std + self._mean, 0, 1)
        scores = -np.sqrt(((pixels[:, None] - PATTERNS / 255) ** 2).sum(axis=(2, 3, 4)))
        scores = np.hstack([np.full((len(batch), self._offset), -1e3), scores])
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares = powers / powers.sum(axis=1, keepdims=True)
        return {"logits": scores, "probabilities": shares, "uint8-scores": np.rint(shares * 255) / 256}[
            self._kind
        ].astype(np.float32)

    def audit(self) -> Audit:
        return Audit(backend="knows", layers=[])

    def provenance(self) -> Mapping[str, Any]:
        return {}

    def close(self) -> None:
        pass


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize("name", RANGES)
def test_the_contract_is_found_from_forty_images(name: str, colour: str, offset: int):
    found = diagnose(Knows(name, colour, offset), PIPELINE, IMAGES, LABELS, classes=CLASSES)

    manifest = found.manifest
    assert found.found
    assert (manifest.range, manifest.colour, manifest.offset) == (name, colour, offset)
    assert (manifest.layout, manifest.classes, manifest.kind) == ("nchw", CLASSES, "logits")


@pytest.mark.parametrize("kind", ["logits", "probabilities", "uint8-scores"])
def test_the_kind_of_score_is_found(kind: str):
    assert diagnose(Knows("0..1", "rgb", 1, kind), PIPELINE, IMAGES, LABELS).manifest.kind == kind


def test_every_question_has_its_chosen_answer_and_intervals():
    found = diagnose(Knows("-1..1", "rgb", 1), PIPELINE, IMAGES, LABELS)

    chosen = {row.question: row.answer for row in found.evidence if row.verdict == "chosen"}
    assert chosen == {"range": "-1..1", "colour": "rgb", "offset": "1"}
    assert all(row.accuracy.n == 40 and row.accuracy.low <= row.accuracy.value for row in found.evidence)
    assert found.to_json()["manifest"]["offset"] == 1


def test_grey_images_cannot_tell_the_colour_order():
    grey = np.repeat(IMAGES[..., :1], 3, axis=3)

    found = diagnose(Knows("0..1", "rgb", 0), PIPELINE, grey, LABELS)

    assert "colour" in [row.question for row in found.open_questions]


def test_labels_that_mean_nothing_are_not_found():
    labels = np.random.default_rng(0).permutation(LABELS)

    assert not diagnose(Knows("0..1", "rgb", 0), PIPELINE, IMAGES, labels).found


def test_scores_that_are_not_finite_are_no_contract():
    engine = Knows("0..1", "rgb", 0)
    engine.infer = lambda batch: np.full((len(batch), CLASSES), np.nan, np.float32)  # type: ignore[method-assign]

    assert not diagnose(engine, PIPELINE, IMAGES, LABELS).found


def test_labels_beyond_the_engines_classes_are_refused():
    with pytest.raises(InputError, match="labels go up to 11"):
        diagnose(Knows("0..1", "rgb", 0), PIPELINE, IMAGES, LABELS + 2)
    with pytest.raises(InputError, match="at least two"):
        diagnose(Knows("0..1", "rgb", 0), PIPELINE, IMAGES[:1], LABELS[:1])


def test_a_softmax_on_256_levels_over_many_classes_need_not_sum_to_one():
    scores = np.zeros((4, 1001), np.float32)
    scores[:, 3] = 180 / 256

    assert score_kind(scores) == "uint8-scores"
    assert score_kind(scores * 3) == "logits"


def test_rows_that_are_not_finite_do_not_decide_the_kind_of_score():
    scores = np.float32([[5, -3, 1], [np.nan, 1, 2], [4, 0, -1]])

    assert score_kind(scores) == "logits"
    assert score_kind(np.full((2, 3), np.nan, np.float32)) == "logits"
    assert np.isfinite(log_probabilities(scores)).all()


def test_thousands_of_images_are_no_more_than_many():
    repeated = np.arange(1600) % len(IMAGES)

    found = diagnose(Knows("0..1", "bgr", 0), PIPELINE, IMAGES[repeated], LABELS[repeated], classes=CLASSES)

    assert found.found
    assert (found.manifest.range, found.manifest.colour) == ("0..1", "bgr")
