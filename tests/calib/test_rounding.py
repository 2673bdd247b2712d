"""Second-order rounding against exhaustive search and against the formulas of optimal brain quantization."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustmq_trt.calib.rounding import damped, gptq, output_error, refine
from robustmq_trt.calib.weight_scales import mse_codes
from robustmq_trt.core.codes import WeightCodes, codes_for, level_limit, round_to_nearest
from robustmq_trt.core.errors import InputError


def correlated_inputs(rng: np.random.Generator, size: int, groups: int = 1, count: int = 400) -> np.ndarray:
    mixing = rng.normal(size=(groups, size, size)) + 1.5
    columns = mixing @ rng.exponential(size=(groups, size, count))
    return columns @ np.swapaxes(columns, 1, 2) / count


def error(codes: WeightCodes, weight: np.ndarray, gram: np.ndarray) -> np.ndarray:
    difference = (codes.values().astype(np.float64) - weight).reshape(len(gram), len(weight) // len(gram), -1)
    return output_error(difference, gram).reshape(-1)


def least_error(weight: np.ndarray, scales: np.ndarray, bits: int, gram: np.ndarray) -> np.ndarray:
    """Try every combination of codes of each row."""
    levels = np.arange(-level_limit(bits), level_limit(bits) + 1)
    tries = np.array(list(itertools.product(levels, repeat=weight.shape[1])), np.float64)
    rows = zip(weight.astype(np.float64), scales.astype(np.float64), strict=True)
    return np.array([output_error((tries * scale - row)[None], gram)[0].min() for row, scale in rows])


def literal_obq(row: np.ndarray, scale: float, limit: int, moments: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Frantar et al. 2022, eq. 2 and 3, with the inverse computed anew for the weights that are left."""
    row, codes, left = row.astype(np.float64).copy(), np.zeros(len(row)), list(order)
    while left:
        inverse = np.linalg.inv(moments[np.ix_(left, left)])
        first = left[0]
        codes[first] = np.clip(np.rint(row[first] / scale), -limit, limit)
        row[left] -= (row[first] - codes[first] * scale) / inverse[0, 0] * inverse[:, 0]
        left.pop(0)
    return codes


@pytest.mark.parametrize("by_diagonal", [False, True])
def test_gptq_equals_optimal_brain_quantization_written_out(rng, by_diagonal):
    weight = rng.normal(size=(5, 7)).astype(np.float32)
    gram = correlated_inputs(rng, 7)
    codes = gptq(weight, gram, 3, 0, by_diagonal=by_diagonal)

    moments = damped(gram, 0.01)[0]
    order = np.argsort(-np.diag(moments), kind="stable") if by_diagonal else np.arange(7)
    scales = codes.scales.astype(np.float64)
    expected = [literal_obq(row, scale, 3, moments, order) for row, scale in zip(weight, scales, strict=True)]

    np.testing.assert_array_equal(codes.codes, expected)


def test_gptq_in_blocks_equals_gptq_column_by_column(rng):
    weight = rng.normal(size=(3, 150)).astype(np.float32)
    gram = correlated_inputs(rng, 150, count=2000)
    codes = gptq(weight, gram, 4, 0, by_diagonal=False)

    moments = damped(gram, 0.01)[0]
    scales = codes.scales.astype(np.float64)
    expected = [literal_obq(row, s, 7, moments, np.arange(150)) for row, s in zip(weight, scales, strict=True)]

    np.testing.assert_array_equal(codes.codes, expected)


def babai_bound(scales: np.ndarray, moments: np.ndarray, order: np.ndarray) -> np.ndarray:
    """What column-by-column rounding cannot exceed: half a step a column, weighted with what the rest cannot undo."""
    lefts = [order[place:] for place in range(len(order))]
    return scales.astype(np.float64) ** 2 / 4 * sum(1 / np.linalg.inv(moments[np.ix_(i, i)])[0, 0] for i in lefts)


@pytest.mark.parametrize("by_diagonal", [False, True])
def test_errors_lie_between_the_best_there_is_and_the_bound_of_the_nearest_plane(rng, by_diagonal):
    # Rounding column by column is Babai's nearest plane method (Babai 1986, theorem 3.1): without saturation each
    # column leaves at most half a step, and what it leaves is orthogonal to the columns still free.
    weight = rng.normal(size=(40, 5)).astype(np.float32)
    gram = damped(correlated_inputs(rng, 5), 0.01)
    scales = np.abs(weight).max(axis=1) / 1.5  # room for what columns take over from those before
    order = np.argsort(-np.diag(gram[0]), kind="stable") if by_diagonal else np.arange(5)

    start = gptq(weight, gram, 3, 0, scales=scales, damping=0, by_diagonal=by_diagonal)
    refined = refine(start, weight, gram, damping=0, rescale=False)

    free = np.abs(start.codes).max(axis=1) < level_limit(3)
    best, reached, rounded = least_error(weight, scales, 3, gram), *(error(c, weight, gram) for c in (refined, start))
    assert free.sum() > 10
    assert (rounded[free] <= babai_bound(scales, gram[0], order)[free] * (1 + 1e-5)).all()
    assert (reached <= rounded * (1 + 1e-5)).all()
    assert (best * (1 - 1e-5) <= reached).all()


def test_no_step_of_one_code_with_any_answer_of_another_improves_refined_codes(rng):
    weight = rng.normal(size=(6, 5)).astype(np.float32)
    gram = correlated_inputs(rng, 5)
    refined = refine(round_to_nearest(weight, 3, 0), weight, gram, damping=0)

    least = error(refined, weight, gram)
    for column, other, move, answer in itertools.product(range(5), range(5), (-1, 1), range(-3, 4)):
        codes = refined.codes.copy()
        codes[:, other] = answer
        codes[:, column] = np.clip(refined.codes[:, column] + move, -3, 3)
        changed = WeightCodes(codes=codes, scales=refined.scales, axis=0, bits=3)

        assert (error(changed, weight, gram) >= least - 1e-5 * least.max()).all()


def test_no_single_change_improves_refined_codes(rng):
    weight = rng.normal(size=(6, 8)).astype(np.float32)
    gram = correlated_inputs(rng, 8)
    refined = refine(round_to_nearest(weight, 4, 0), weight, gram, damping=0)

    least = error(refined, weight, gram)
    for column, move in itertools.product(range(8), (-1, 1)):
        codes = refined.codes.copy()
        codes[:, column] = np.clip(codes[:, column] + move, -7, 7)
        changed = WeightCodes(codes=codes, scales=refined.scales, axis=0, bits=4)

        assert (error(changed, weight, gram) >= least - 1e-5 * least.max()).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(2, 8), rescale=st.booleans())
def test_refining_never_raises_the_error_of_a_channel(seed, bits, rescale):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(4, 6)).astype(np.float32)
    gram = correlated_inputs(rng, 6)
    start = mse_codes(weight, bits, 0)

    refined = refine(start, weight, gram, damping=0, rescale=rescale)

    # float32 scales: the error of 8-bit codes is itself near their rounding
    assert (error(refined, weight, gram) <= error(start, weight, gram) * (1 + 1e-4) + 1e-9).all()


def test_without_correlation_gptq_rounds_to_the_nearest(rng):
    weight = rng.normal(size=(5, 9)).astype(np.float32)
    gram = np.eye(9)[None]

    codes = gptq(weight, gram, 4, 0)

    np.testing.assert_array_equal(codes.codes, mse_codes(weight, 4, 0).codes)


def test_groups_are_rounded_as_if_each_were_a_layer_of_its_own(rng):
    weight = rng.normal(size=(6, 1, 3, 3)).astype(np.float32)
    gram = correlated_inputs(rng, 9, groups=3)

    together = refine(gptq(weight, gram, 4, 0), weight, gram)

    for group in range(3):
        rows, own = weight[2 * group : 2 * group + 2], gram[group : group + 1]
        alone = refine(gptq(rows, own, 4, 0), rows, own)
        np.testing.assert_array_equal(together.codes[2 * group : 2 * group + 2], alone.codes)


def test_weights_with_channels_in_columns_round_as_their_transpose(rng):
    weight = rng.normal(size=(8, 5)).astype(np.float32)
    gram = correlated_inputs(rng, 8)

    columns = gptq(weight, gram, 4, 1)
    rows = gptq(np.ascontiguousarray(weight.T), gram, 4, 0)

    np.testing.assert_array_equal(columns.codes, rows.codes.T)


def test_inputs_that_never_fire_leave_their_weights_at_the_nearest_code(rng):
    weight = rng.normal(size=(4, 6)).astype(np.float32)
    gram = correlated_inputs(rng, 6)
    gram[:, 2] = gram[:, :, 2] = 0

    codes = refine(gptq(weight, gram, 4, 0), weight, gram, rescale=False)

    np.testing.assert_array_equal(codes.codes[:, 2], codes_for(weight, codes.scales, 4, 0).codes[:, 2])
    np.testing.assert_array_equal(
        gptq(weight, np.zeros_like(gram), 4, 0).codes, mse_codes(weight, 4, 0).codes, err_msg="a dead layer"
    )


def test_moments_of_another_layer_are_refused(rng):
    weight = rng.normal(size=(4, 6)).astype(np.float32)

    with pytest.raises(InputError, match=r"got \(1, 5, 5\)"):
        gptq(weight, np.eye(5)[None], 4, 0)
    with pytest.raises(InputError, match="finite"):
        gptq(weight, np.full((1, 6, 6), np.nan), 4, 0)
