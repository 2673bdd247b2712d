import numpy as np

from robustmq_trt.core.randomness import image_stream


def test_a_stream_depends_on_seed_task_and_image_only():
    first = image_stream(0, "square", "ab").integers(0, 256, 8)

    assert np.array_equal(first, image_stream(0, "square", "ab").integers(0, 256, 8))
    for other in (image_stream(1, "square", "ab"), image_stream(0, "pgd", "ab"), image_stream(0, "square", "ac")):
        assert not np.array_equal(first, other.integers(0, 256, 8))


def test_a_stream_is_the_same_on_every_machine():
    assert image_stream(0, "square", "ab").integers(0, 256, 6).tolist() == [246, 134, 206, 145, 136, 239]
