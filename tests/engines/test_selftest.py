from collections.abc import Callable

import numpy as np
import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.engines.protocol import EngineSpec
from robustmq_trt.engines.selftest import self_test

IMAGES = np.random.default_rng(0).normal(size=(32, 1, 2, 2)).astype(np.float32)


class FakeEngine:
    """An engine whose scores are two pixels plus a defect that may depend on the call and the batch."""

    def __init__(self, defect: Callable[[int, np.ndarray], object], fixed_batch: int | None = None) -> None:
        self.spec = EngineSpec(
            input_name="x",
            height=2,
            width=2,
            channels=1,
            layout="nchw",
            dtype="float32",
            fixed_batch=fixed_batch,
            classes=2,
            output_kind="logits",
        )
        self.calls = 0
        self.sizes: list[int] = []
        self._defect = defect

    def infer(self, batch: np.ndarray) -> np.ndarray:
        self.calls += 1
        self.sizes.append(len(batch))
        scores = batch[:, 0, 0, :].copy()
        scores[:, 1] += self._defect(self.calls, batch)
        return scores


def test_faithful_engine_passes():
    result = self_test(FakeEngine(lambda call, batch: 0.0), IMAGES)

    assert (result.repeatable, result.batch_invariant, result.max_delta, result.flips) == (True, True, 0.0, 0)
    assert result.batch_sizes == (1, 8, 32)


def test_dependence_on_the_batch_size_is_found_and_measured():
    result = self_test(FakeEngine(lambda call, batch: 0.25 * (len(batch) == 8)), IMAGES)

    assert result.repeatable
    assert not result.batch_invariant
    assert result.max_delta == pytest.approx(0.25, abs=1e-6)
    first, second = IMAGES[:, 0, 0, :].T
    assert result.flips == int(((first >= second) & (first < second + 0.25)).sum())


def test_dependence_on_the_place_in_the_batch_is_found():
    result = self_test(FakeEngine(lambda call, batch: np.arange(len(batch)) * 1e-3, fixed_batch=32), IMAGES)

    assert result.repeatable
    assert not result.batch_invariant


def test_scores_that_change_from_call_to_call_are_found():
    assert not self_test(FakeEngine(lambda call, batch: call * 1e-3), IMAGES).repeatable


def test_fixed_batch_engine_only_sees_full_batches():
    engine = FakeEngine(lambda call, batch: 0.0, fixed_batch=5)

    result = self_test(engine, IMAGES)

    assert set(engine.sizes) == {5}
    assert result.batch_sizes == (5,)
    assert result.batch_invariant


def test_equal_nans_are_equal_and_a_lone_nan_is_an_infinite_difference():
    same = self_test(FakeEngine(lambda call, batch: np.nan), IMAGES)
    lone = self_test(FakeEngine(lambda call, batch: np.nan if call == 40 else 0.0), IMAGES)

    assert (same.batch_invariant, same.max_delta) == (True, 0.0)
    assert lone.max_delta == np.inf
    assert lone.to_json()["max_delta"] is None


def test_no_images_are_refused():
    with pytest.raises(InputError, match="at least one image"):
        self_test(FakeEngine(lambda call, batch: 0.0), IMAGES[:0])
