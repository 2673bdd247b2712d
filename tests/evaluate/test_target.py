"""An engine's plain answers, held against scores written down by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from robustmq_trt.core.errors import EngineError, TargetChangedError
from robustmq_trt.evaluate.target import Target, answer, scores
from robustmq_trt.inputs.catalog import find_preset

PIPELINE = find_preset("tflite-mobilenet").for_size(1, 1)


class FirstPixel:
    """Scores each image by its one pixel's three values, and notes the size of every batch."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def infer(self, batch: np.ndarray) -> np.ndarray:
        self.batches.append(len(batch))
        return batch.reshape(len(batch), 3).copy()


def target(engine: object, **settings: object) -> Target:
    return Target(name="net", engine=engine, pipeline=PIPELINE, identity={}, **settings)


def pixels(*rows: tuple[int, int, int]) -> np.ndarray:
    return np.array(rows, np.uint8)[:, None, None]


def test_the_answer_is_the_lowest_index_of_the_highest_score_and_says_if_it_was_shared() -> None:
    found = answer(target(FirstPixel()), pixels((1, 9, 3), (7, 2, 7), (4, 4, 4)))

    assert found.prediction.tolist() == [1, 0, 0]
    assert found.tied.tolist() == [False, True, True]
    assert found.finite.all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_image_with_a_score_that_is_not_finite_has_no_answer(bad: float) -> None:
    engine = SimpleNamespace(infer=lambda batch: np.float32([[0, bad, 1], [0, 2, 1]]))

    assert answer(target(engine), pixels((0, 0, 0), (0, 0, 0))).finite.tolist() == [False, True]


@pytest.mark.parametrize(("pad", "batches"), [(False, [2, 2, 1]), (True, [2, 2, 2])])
def test_only_an_engine_that_needs_it_gets_its_last_batch_filled(pad: bool, batches: list[int]) -> None:
    engine = FirstPixel()
    images = pixels(*((value, 0, 255) for value in range(5)))

    found = scores(target(engine, batch=2, pad=pad), images)

    assert engine.batches == batches
    np.testing.assert_array_equal(found, PIPELINE.tensor(images).reshape(5, 3))


def raising(error: Exception) -> SimpleNamespace:
    def infer(batch: np.ndarray) -> np.ndarray:
        raise error

    return SimpleNamespace(infer=infer)


def test_whatever_an_engine_raises_becomes_an_engine_error_and_our_own_errors_stay_as_they_are() -> None:
    with pytest.raises(EngineError, match=r"^RuntimeError: device lost$"):
        scores(target(raising(RuntimeError("device lost"))), pixels((0, 0, 0)))
    with pytest.raises(TargetChangedError, match=r"^another model$"):
        scores(target(raising(TargetChangedError("another model"))), pixels((0, 0, 0)))


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 3, 1)])
def test_scores_of_another_shape_than_one_row_per_image_are_an_engine_error(shape: tuple[int, ...]) -> None:
    engine = SimpleNamespace(infer=lambda batch: np.zeros(shape, np.float32))

    with pytest.raises(EngineError, match="scores of shape"):
        scores(target(engine), pixels((0, 0, 0), (0, 0, 0)))
