"""What an engine's answers give away: held against networks whose arithmetic is known."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from robustmq_trt.engines.behaviour import compare, observe, score_all
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.engines.protocol import Engine


@pytest.fixture
def engines(qdq_model: Path) -> Iterator[tuple[Engine, Engine]]:
    """The quantized classifier and its simulation."""
    found = open_engine(qdq_model, threads=1), open_engine(f"simulation:{qdq_model}", threads=1)
    yield found
    for engine in found:
        engine.close()


def images(count: int = 256) -> np.ndarray:
    return (np.random.default_rng(0).integers(0, 256, (count, 3, 8, 8)) / 127.5 - 1).astype(np.float32)


def test_a_quantized_input_saturates_and_agrees_with_its_simulation(engines: tuple[Engine, Engine]):
    seen = observe(engines[0], images(), engines[1])

    assert seen.input_saturates is True
    assert seen.agreement is not None
    assert seen.saturated is not None
    assert (seen.agreement.flips, seen.saturated.flips) == (0, 0)
    assert seen.agreement.max_delta < 0.05 * seen.agreement.spread


def test_a_float_input_does_not_saturate(saved: Callable[[str], Path], float_text: str):
    engine = open_engine(saved(float_text), threads=1)
    seen = observe(engine, images())
    engine.close()

    assert seen.input_saturates is False
    assert seen.agreement is None
    assert seen.output_quantized is False


def test_few_scores_say_nothing_about_levels(engines: tuple[Engine, Engine]):
    assert observe(engines[0], images(4)).output_quantized is None


def test_the_agreement_counts_by_hand():
    ours = np.float32([[1, 2], [3, 1], [0, 5]])
    theirs = np.float32([[1, 2], [1, 3], [0, 4]])

    found = compare(ours, theirs)

    assert (found.images, found.flips, found.max_delta) == (3, 1, 2.0)
    assert found.mean_delta == pytest.approx(5 / 6)


def test_images_are_scored_by_an_engine_of_one_batch_size(saved: Callable[[str], Path], float_text: str):
    whole = open_engine(saved(float_text), threads=1)
    expected = whole.infer(images(5))
    pairs = open_engine(saved(float_text.replace("float[N,", "float[2,")), threads=1)

    assert np.array_equal(score_all(pairs, images(5)), expected)


def test_nothing_is_called_a_proof(engines: tuple[Engine, Engine]):
    sentences = observe(engines[0], images(), engines[1]).sentences()

    assert len(sentences) == 4
    assert not any("integer" in sentence or "proof" in sentence for sentence in sentences)
