import numpy as np

from robustmq_trt.core.randomness import image_stream
from robustmq_trt.evaluate.attacks.noise import noise
from robustmq_trt.evaluate.attacks.protocol import Answer, Goal
from robustmq_trt.evaluate.attacks.walk import Scene

UNMOVED = Answer(np.float32([1, 0]), 1.0, wrong=False)


def draws(seed: int, count: int) -> list[np.ndarray]:
    image = np.full((32, 32, 3), 100, dtype=np.uint8)
    rng = image_stream(seed, "noise:eps=5", "hash")
    search = noise(Scene(image=image, goal=Goal(0), eps=5, budget=count, rng=rng, start=None))
    return [next(search), *(search.send(UNMOVED) for _ in range(count - 1))]


def test_noise_asks_for_the_image_then_for_fresh_corners_of_the_ball() -> None:
    clean, *corners = draws(0, 5)

    assert (clean == 100).all()
    for corner in corners:
        np.testing.assert_array_equal(np.unique(corner), [95, 105])
        assert abs((corner == 105).mean() - 0.5) < 0.05
    assert len({corner.tobytes() for corner in corners}) == 4


def test_noise_is_drawn_from_the_images_own_stream() -> None:
    np.testing.assert_array_equal(draws(3, 4), draws(3, 4))
    assert (draws(3, 2)[1] != draws(4, 2)[1]).any()
