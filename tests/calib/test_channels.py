"""Channel extremes against the whole data set at once, worked out by ONNX's reference."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from robustmq_trt.calib.channels import channel_ranges, peak, transformer_tensors
from robustmq_trt.core.errors import InputError

NET = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,4,6] x) => (float[N,4,3] y) {
  n = LayerNormalization(x, g, b)
  p = MatMul(n, w)
  t = Transpose<perm=[0,2,1]>(p)
  a = MatMul(p, t)
  o = MatMul(a, p)
  r = Relu(o)
  y = MatMul(r, v)
}"""


@pytest.fixture
def model(rng: np.random.Generator) -> onnx.ModelProto:
    found = parser.parse_model(NET)
    for name, shape in {"g": 6, "b": 6, "w": (6, 5), "v": (5, 3)}.items():
        found.graph.initializer.append(numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    return found


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(9, 4, 6)).astype(np.float32)


def values(model: onnx.ModelProto, name: str, images: np.ndarray) -> np.ndarray:
    extractor = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model))
    (output,) = ReferenceEvaluator(extractor.extract_model(["x"], [name])).run(None, {"x": images})
    return output


@pytest.mark.parametrize("sizes", [(9,), (4, 2, 3), (1,) * 9])
def test_extremes_are_those_of_all_images_at_once(model: onnx.ModelProto, images: np.ndarray, sizes: tuple[int, ...]):
    found = channel_ranges(model, np.split(images, np.cumsum(sizes)[:-1]), ["n", "r"])

    for name, channels in (("n", 6), ("r", 5)):
        expected = values(model, name, images)
        assert found[name].low.shape == (channels,)
        np.testing.assert_allclose(found[name].low, expected.min(axis=(0, 1)), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[name].high, expected.max(axis=(0, 1)), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[name].magnitude, np.abs(expected).max(axis=(0, 1)), rtol=1e-4, atol=1e-5)


def test_products_with_constants_and_normalizations_are_looked_at(model: onnx.ModelProto):
    assert transformer_tensors(model) == ("x", "n", "r")  # not the product of two activations


def test_a_peak_is_the_largest_over_the_median():
    assert peak(np.float32([1, 2, 8])) == 4
    assert peak(np.float32([3, 3, 3])) == 1
    assert np.isfinite(peak(np.float32([0, 0, 1])))


def test_no_image_is_refused(model: onnx.ModelProto):
    with pytest.raises(InputError, match="at least one calibration image"):
        channel_ranges(model, [], ["n"])


def test_values_that_are_not_finite_are_refused(model: onnx.ModelProto, images: np.ndarray):
    images[3, 0, 0] = np.inf

    with pytest.raises(InputError, match="'n' is not finite"):
        channel_ranges(model, [images], ["n"])
