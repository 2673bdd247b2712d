import numpy as np
import pytest
from scipy.special import softmax

from robustmq_trt.core.errors import InputError
from robustmq_trt.evaluate.score_access import SCORE_ACCESS, check_access, seen_by_attacker


@pytest.fixture
def logits(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(scale=5, size=(64, 10)).astype(np.float32)


def test_logits_are_shown_as_they_are(logits: np.ndarray) -> None:
    assert seen_by_attacker(logits, "logits") is logits


def test_probabilities_equal_scipys_softmax(logits: np.ndarray) -> None:
    np.testing.assert_allclose(
        seen_by_attacker(logits, "probabilities"), softmax(logits.astype(np.float64), axis=1), rtol=1e-5
    )


def test_uint8_scores_are_whole_numbers_within_half_a_step_of_the_softmax(logits: np.ndarray) -> None:
    scores = seen_by_attacker(logits, "uint8-scores")

    expected = np.minimum(softmax(logits.astype(np.float64), axis=1) * 256, 255)
    assert (scores == np.rint(scores)).all()
    assert scores.max() <= 255
    assert np.abs(scores - expected).max() <= 0.5 + 1e-4


def test_rounded_scores_have_two_decimals(logits: np.ndarray) -> None:
    scores = seen_by_attacker(logits, "rounded-2").astype(np.float64)

    np.testing.assert_allclose(scores, softmax(logits.astype(np.float64), axis=1).round(2), atol=1e-6)


def test_a_label_is_one_at_the_lowest_of_tied_classes() -> None:
    tied = np.float32([[1, 3, 3], [2, 2, 2]])

    np.testing.assert_array_equal(seen_by_attacker(tied, "label"), [[0, 1, 0], [1, 0, 0]])


def test_no_second_softmax_is_taken_of_probabilities(logits: np.ndarray) -> None:
    probabilities = seen_by_attacker(logits, "probabilities")

    again = seen_by_attacker(probabilities, "probabilities", output_kind="probabilities")

    np.testing.assert_array_equal(again, probabilities)


def test_scores_that_leave_the_engine_as_uint8_stay_as_they_are() -> None:
    scores = np.float32([[0, 255, 3]])

    np.testing.assert_array_equal(seen_by_attacker(scores, "uint8-scores", output_kind="uint8-scores"), scores)


@pytest.mark.parametrize("access", SCORE_ACCESS)
def test_a_row_does_not_depend_on_the_others(logits: np.ndarray, access: str) -> None:
    together = seen_by_attacker(logits, access)

    alone = np.concatenate([seen_by_attacker(row[None], access) for row in logits])

    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(
    ("access", "kind"), [("logits", "probabilities"), ("probabilities", "uint8-scores"), ("logits", "uint8-scores")]
)
def test_scores_finer_than_the_engines_output_are_refused(access: str, kind: str) -> None:
    with pytest.raises(InputError, match="finer than"):
        check_access(access, kind)


def test_an_unknown_access_is_refused_with_a_hint() -> None:
    with pytest.raises(InputError, match="Did you mean 'probabilities'"):
        check_access("probabilites", "logits")
