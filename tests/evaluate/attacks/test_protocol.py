import numpy as np
import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.evaluate.attacks.protocol import check_image, linf_levels


def test_linf_is_computed_in_integers_and_does_not_wrap() -> None:
    assert linf_levels(np.uint8([[0, 255]]), np.uint8([[255, 250]])) == 255


def test_linf_of_nothing_is_zero() -> None:
    assert linf_levels(np.zeros(0, np.uint8), np.zeros(0, np.uint8)) == 0


@pytest.mark.parametrize("other", [np.zeros(3, np.float32), np.zeros(4, np.uint8)])
def test_linf_is_refused_off_the_grid_and_for_other_shapes(other: np.ndarray) -> None:
    with pytest.raises(InputError, match="two uint8 images of one shape"):
        linf_levels(np.zeros(3, np.uint8), other)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 1), np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_uint8_colour_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(InputError, match="uint8 image"):
        check_image(image)
