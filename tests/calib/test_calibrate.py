"""From images to ranges on graphs small enough to work out by hand."""

import json
import sys
from functools import reduce

import numpy as np
import onnx.parser
import pytest

from robustmq_trt.calib.calibrate import calibrate, choose, plan_of, see
from robustmq_trt.calib.catalog import METHODS
from robustmq_trt.calib.seen import Seen
from robustmq_trt.core.errors import InputError, UnsupportedError

ALL = sorted(METHODS)


@pytest.fixture
def images(rng) -> np.ndarray:
    return rng.normal(size=(11, 1, 2, 2)).astype(np.float32)


def once(images, size=4):
    return lambda: (images[start : start + size] for start in range(0, len(images), size))


def test_minmax_is_exact_for_every_activation(tiny_model, images):
    ranges = calibrate(tiny_model, once(images), methods=["minmax"])["minmax"]

    doubled = images * np.float32(2)
    shifted = doubled + np.float32(1)
    relu = np.maximum(shifted, 0)
    by_hand = {"x": images, "d": doubled, "h": shifted, "r": relu, "y": -relu}
    assert ranges == {name: (values.min(), values.max()) for name, values in by_hand.items()}


def test_all_methods_come_out_of_one_reading_of_the_images(tiny_model, images):
    readings = []

    def batches():
        readings.append(1)
        return [images]

    result = calibrate(tiny_model, batches, methods=ALL)

    assert readings == [1]
    assert list(result) == ALL


@pytest.mark.parametrize("size", [1, 3, 11])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_neither_batch_size_nor_threads_change_a_bit(size, threads, tiny_model, images):
    plain = calibrate(tiny_model, once(images, 11), methods=ALL, threads=1)

    assert calibrate(tiny_model, once(images, size), methods=ALL, threads=threads) == plain


def test_the_order_of_the_images_does_not_matter(tiny_model, images):
    growing = images * np.float32(2) ** np.arange(11, dtype=np.float32)[:, None, None, None]

    forward = calibrate(tiny_model, once(growing), methods=ALL)

    assert calibrate(tiny_model, once(growing[::-1]), methods=ALL) == forward


def test_a_batch_may_be_overwritten_once_it_is_handed_over(tiny_model, images):
    def reused():
        buffer = np.empty((1, 1, 2, 2), np.float32)
        for image in images:
            buffer[0] = image
            yield buffer

    ranges = calibrate(tiny_model, reused, methods=["minmax"], threads=2)

    assert ranges == calibrate(tiny_model, once(images), methods=["minmax"])


def test_a_tensor_absorbed_by_relu_takes_the_range_behind_it(tiny_model, images):
    result = calibrate(tiny_model, once(images), methods=["entropy", "minmax"])

    assert result["entropy"]["h"] == result["entropy"]["r"]
    assert result["minmax"]["h"][0] < 0 == result["minmax"]["r"][0]


@pytest.mark.parametrize("method", ALL)
def test_a_method_alone_answers_as_in_company(method, tiny_model, images):
    together = calibrate(tiny_model, once(images), methods=ALL)

    assert calibrate(tiny_model, once(images), methods=[method])[method] == together[method]


def test_a_nan_that_only_an_absorbed_tensor_takes_is_still_found():
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N,2] x) => (float[N,2] y) { h = Sqrt (x) y = Relu (h) }""")

    with pytest.raises(InputError, match="Tensor 'y' is not finite for calibration image 1"):
        calibrate(model, lambda: [np.float32([[1, 4], [1, -1]])], methods=["entropy"])


def test_only_the_tensors_asked_for_are_answered(tiny_model, images):
    result = calibrate(tiny_model, once(images), methods=["percentile"], tensors=["y", "h"])

    assert set(result["percentile"]) == {"h", "y"}
    assert result["percentile"]["h"][0] < 0  # nothing behind it is observed, so it answers for itself


def test_one_image_is_enough(tiny_model, images):
    result = calibrate(tiny_model, once(images[:1]), methods=ALL)

    assert result["minmax"]["x"] == (images[0].min(), images[0].max())


def test_a_tensor_that_never_fires_gets_the_range_zero(tiny_model):
    images = np.full((2, 1, 2, 2), -3, np.float32)
    images[0, 0, 0, 0] = -2

    result = calibrate(tiny_model, lambda: [images], methods=ALL)

    assert all(result[method]["r"] == (0, 0) for method in ALL)


def test_progress_counts_images(tiny_model, images):
    seen = []

    calibrate(tiny_model, once(images), methods=["minmax"], images=11, progress=lambda *counts: seen.append(counts))

    assert seen == [(done, 11) for done in range(1, 12)]


def test_a_model_of_fixed_batch_is_fed_whole_batches(images):
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[5,1,2,2] x) => (float[5,1,2,2] y) { y = Neg (x) }""")

    result = calibrate(model, once(images[:10], 4), methods=["minmax"])

    assert result["minmax"]["y"] == (-images[:10].max(), -images[:10].min())
    with pytest.raises(InputError, match="takes batches of 5 images and 1 are left over"):
        calibrate(model, once(images), methods=["minmax"])


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_value_that_is_not_finite_is_refused_by_tensor_and_image(poison, threads, tiny_model, images):
    images[7, 0, 1, 1] = poison

    with pytest.raises(InputError, match="Tensor 'x' is not finite for calibration image 7"):
        calibrate(tiny_model, once(images), methods=["minmax"], threads=threads)


def test_the_image_is_counted_from_the_first_of_all_parts(tiny_model, images):
    images[7, 0, 1, 1] = np.nan

    with pytest.raises(InputError, match="calibration image 107"):
        see(tiny_model, [images], plan_of(tiny_model, ["minmax"]), first=100)


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile", "mse"])
def test_parts_written_and_read_add_up_to_the_whole_in_any_order(method, tiny_model, images):
    plan = plan_of(tiny_model, [method])
    parts = [see(tiny_model, [images[at : at + 3]], plan) for at in range(0, len(images), 3)]
    read = [Seen.from_json(json.loads(json.dumps(part.to_json()))) for part in reversed(parts)]

    merged = reduce(Seen.merge, read, Seen(tensors={}, flat=True))

    assert choose(tiny_model, merged, [method]) == calibrate(tiny_model, once(images), methods=[method])


def test_a_flat_part_among_others_is_no_flat_calibration(tiny_model, images):
    plan = plan_of(tiny_model, ["minmax"])
    flat = see(tiny_model, [np.ones_like(images)], plan)

    with pytest.raises(InputError, match="one flat colour"):
        choose(tiny_model, flat.merge(flat), ["minmax"])
    assert choose(tiny_model, flat.merge(see(tiny_model, [images], plan)), ["minmax"])


def test_an_activation_that_overflows_is_refused_by_its_own_name(tiny_model, images):
    images[3] = 3e38

    with pytest.raises(InputError, match="Tensor 'd' is not finite for calibration image 3"):
        calibrate(tiny_model, once(images), methods=["entropy"])


@pytest.mark.parametrize("batches", [[], [np.empty((0, 1, 2, 2), np.float32)]])
def test_no_image_is_refused(batches, tiny_model):
    with pytest.raises(InputError, match="at least one calibration image"):
        calibrate(tiny_model, lambda: batches, methods=["minmax"])


@pytest.mark.parametrize(
    "batch",
    [np.zeros((1, 3, 2, 2), np.float32), np.zeros((1, 2, 2), np.float32), np.zeros((1, 1, 2, 2), np.uint8)],
    ids=["channels", "rank", "dtype"],
)
def test_images_that_do_not_fit_the_input_are_refused(batch, tiny_model):
    with pytest.raises(InputError, match=r"shape \(N, 1, 2, 2\) float32 for input 'x'"):
        calibrate(tiny_model, lambda: [batch], methods=["minmax"])


def test_an_activation_of_changing_shape_is_refused():
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N,4] x) => (float y) { n = NonZero (x) f = Cast <to = 1> (n) y = ReduceSum <keepdims = 0> (f) }""")
    changing = np.float32([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]])

    with pytest.raises(InputError, match="changes its shape"):
        calibrate(model, lambda: [changing], methods=["minmax"], threads=1)


def test_an_error_of_the_images_reaches_the_caller(tiny_model, images):
    def broken():
        yield images[:2]
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        calibrate(tiny_model, broken, methods=["minmax"])


def test_an_unknown_tensor_is_refused_with_the_nearest_name(tiny_model, images):
    with pytest.raises(InputError, match="Unknown activation tensor 'two'"):
        calibrate(tiny_model, once(images), methods=["minmax"], tensors=["two"])


def test_without_onnxruntime_the_install_line_is_given(tiny_model, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(UnsupportedError, match=r"pip install robustmq-trt\[cpu\]"):
        calibrate(tiny_model, once(images), methods=["minmax"])


@pytest.mark.parametrize("channels_last", [False, True])
def test_images_that_show_nothing_are_refused(channels_last):
    colours = np.float32([[-2, -1, 0], [1, 1, 1]])
    flat = np.broadcast_to(colours[:, :, None, None], (2, 3, 4, 4))
    flat = np.ascontiguousarray(flat.transpose(0, 2, 3, 1) if channels_last else flat)
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N,{",".join(map(str, flat.shape[1:]))}] x) => (float[N,{",".join(map(str, flat.shape[1:]))}] y)
        {{ y = Neg (x) }}""")

    with pytest.raises(InputError, match="flat colour"):
        calibrate(model, lambda: [flat[:1], flat[1:]], methods=["minmax"])


@pytest.mark.parametrize("step", [1, -1], ids=["last", "first"])
def test_one_image_that_shows_something_is_enough_beside_flat_ones(step, tiny_model, images):
    flat = np.zeros((5, 1, 2, 2), np.float32)

    result = calibrate(tiny_model, lambda: [flat, images[:1]][::step], methods=["minmax"])

    assert result["minmax"]["x"] == (min(0, images[0].min()), max(0, images[0].max()))


def test_stripes_are_no_flat_colour(tiny_model):
    stripes = np.float32([[[[0, 1], [0, 1]]]])

    assert calibrate(tiny_model, lambda: [stripes], methods=["minmax"])["minmax"]["x"] == (0, 1)
