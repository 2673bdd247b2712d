from __future__ import annotations

import numpy as np
import pytest

from robustmq_trt.core.errors import InputError, UnsupportedError
from robustmq_trt.export.parity import check_parity, compare, random_images, run_onnx


def test_the_figures_of_a_comparison_by_hand():
    expected = np.float32([[1, 2], [3, -4]])
    got = np.float32([[1, 2], [3, 3.5]])

    parity = compare(expected, got)

    assert (parity.images, parity.max_abs_difference, parity.scale, parity.top1_agreement) == (2, 7.5, 4.0, 0.5)


def test_a_small_difference_passes_and_a_large_one_is_refused():
    expected = np.float32([[10, 0]])

    check_parity(compare(expected, expected + np.float32(0.009)))
    with pytest.raises(UnsupportedError, match=r"max \|Δlogit\| 0.011 at logits up to 10"):
        check_parity(compare(expected, expected + np.float32(0.011)))


def test_scores_that_are_no_numbers_are_refused():
    expected = np.float32([[10, 0]])

    with pytest.raises(UnsupportedError, match="inf"):
        check_parity(compare(expected, np.float32([[10, np.nan]])))


def test_scores_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"\(1, 3\), the source \(1, 2\)"):
        compare(np.zeros((1, 2), np.float32), np.zeros((1, 3), np.float32))


def test_random_images_depend_on_the_seed_only():
    first = random_images((4, 6), seed=1)

    assert first.shape == (16, 3, 4, 6)
    np.testing.assert_array_equal(first, random_images((4, 6), seed=1))
    assert not np.array_equal(first, random_images((4, 6), seed=2))


def test_the_runner_gives_the_references_scores(make_net, run_reference):
    model = make_net("conv_bn")
    images = random_images((8, 8))

    np.testing.assert_allclose(run_onnx(model, images), run_reference(model, images), rtol=1e-4, atol=1e-5)


def test_a_graph_the_runtime_cannot_run_is_named(make_net):

    with pytest.raises(UnsupportedError, match="cannot run"):
        run_onnx(make_net("conv_bn"), random_images((9, 9)))
