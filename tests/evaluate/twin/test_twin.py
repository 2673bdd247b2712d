from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from robustmq_trt.core.errors import InputError, UnsupportedError
from robustmq_trt.evaluate.twin.agreement import agreement
from robustmq_trt.evaluate.twin.backward import cross_entropy_graph
from robustmq_trt.evaluate.twin.twin import Twin
from robustmq_trt.inputs.catalog import PRESETS
from robustmq_trt.inputs.pipeline import Pipeline
from robustmq_trt.inputs.sources import open_dataset

CIFAR = PRESETS["cifar10"]
SMALL = CIFAR.for_size(16, 16)

NETS = {
    "residual": """
        a = Conv<pads=[1, 1, 1, 1]>(x, w1, b1) r = Relu(a)
        s = Conv<pads=[1, 1, 1, 1], strides=[2, 2]>(r, w2) t = Relu(s)
        k = Conv<strides=[2, 2]>(r, w3) u = Add(t, k)
        d = Conv<group=24, pads=[1, 1, 1, 1]>(u, w4) v = Clip(d, low, high)
        e = Conv<group=24, pads=[1, 1, 1, 1], strides=[2, 2]>(v, w4)
        g = GlobalAveragePool(e) f = Flatten(g) y = Gemm<transB=1>(f, w5, b5)""",
    "squeeze-excite": """
        a = Conv<pads=[1, 1, 1, 1], strides=[2, 2]>(x, w1, b1) r = HardSwish(a)
        g = GlobalAveragePool(r) h = Conv(g, w6) i = Sigmoid(h) j = Mul(r, i)
        m = MaxPool<kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]>(j)
        c = Concat<axis=1>(m, m) t = Tanh(c)
        p = GlobalAveragePool(t) f = Flatten(p) y = Gemm<transB=1>(f, w7)""",
    "transformer": """
        p = Conv<strides=[4, 4]>(x, w8) r = Reshape(p, tokens) t = Transpose<perm=[0, 2, 1]>(r)
        n = LayerNormalization(t, w9) o = MatMul(n, w10) q, k, v = Split<axis=2>(o, thirds)
        u = Transpose<perm=[0, 2, 1]>(k) s = MatMul(q, u) a = Softmax(s) m = MatMul(a, v) z = Add(t, m)
        l = LayerNormalization(z, w9) h = MatMul(l, w11) e = Erf(h) g = Mul(h, e) i = MatMul(g, w12) j = Add(z, i)
        c = Transpose<perm=[0, 2, 1]>(j) d = GlobalAveragePool(c) f = Flatten(d) y = Gemm<transB=1>(f, w13)""",
    "mobile-v3": """
        a = Conv<pads=[1, 1, 1, 1], strides=[2, 2]>(x, w1, b1) r = HardSwish(a)
        g = ReduceMean<axes=[2, 3]>(r) h = Conv(g, w6) o = Relu(h) p = Conv(o, w6)
        q = HardSigmoid<alpha=0.16666667, beta=0.5>(p) j = Mul(r, q) k = Softplus(j) l = Sub(k, r)
        m = GlobalMaxPool(l) n = Elu(l) s = InstanceNormalization(n, b1, b1) t = Max(s, m) u = PRelu(t, low)
        c = Concat<axis=1>(u, u) d = GlobalAveragePool(c) f = Flatten(d) y = Gemm<transB=1>(f, w7)""",
    "convnext": """
        p = Conv<strides=[4, 4]>(x, w8) a = Conv<group=12, pads=[3, 3, 3, 3]>(p, w14)
        t = Transpose<perm=[0, 2, 3, 1]>(a) n = LayerNormalization(t, w9) h = MatMul(n, w11)
        e = Erf(h) g = Mul(h, e) i = MatMul(g, w12) j = Mul(i, w9)
        k = Transpose<perm=[0, 3, 1, 2]>(j) l = Add(p, k)
        d = GlobalAveragePool(l) f = Flatten(d) y = Gemm<transB=1>(f, w13)""",
    "shifted-windows": """
        p = Conv<strides=[4, 4]>(x, w8) a = Transpose<perm=[0, 2, 3, 1]>(p)
        a1 = Slice(a, one, many, one) a2 = Slice(a, nil, one, one) b = Concat<axis=1>(a1, a2)
        r = Reshape(b, parted) s = Transpose<perm=[0, 1, 3, 2, 4, 5]>(r) t = Reshape(s, windows)
        n = LayerNormalization(t, w9) o = MatMul(n, w10) q, k, v = Split<axis=2>(o, thirds)
        qn = ReduceL2<axes=[2]>(q) q2 = Div(q, qn) kn = ReduceL2<axes=[2]>(k) k2 = Div(k, kn)
        m1 = Einsum<equation="bid,bjd->bij">(q2, k2) m2 = Add(m1, w15) m3 = Softmax<axis=2>(m2)
        m4 = MatMul(m3, v) above = Greater(m4, low) m5 = Where(above, m4, t) z = Add(t, m5)
        c = Reshape(z, back) d0 = Transpose<perm=[0, 3, 1, 2]>(c) d = GlobalAveragePool(d0) f = Flatten(d)
        y0 = LogSoftmax<axis=1>(f) y = Gemm<transB=1>(y0, w13)""",
}
WEIGHTS = """<float[12,3,3,3] w1, float[12] b1, float[24,12,3,3] w2, float[24,12,1,1] w3, float[24,1,3,3] w4,
    float[10,24] w5, float[10] b5, float[12,12,1,1] w6, float[10,24] w7, float[12,3,4,4] w8, float[12] w9,
    float[12,36] w10, float[12,24] w11, float[24,12] w12, float[10,12] w13, int64[3] tokens = {0, 12, 16},
    int64[3] thirds = {12, 12, 12}, float low = {0}, float high = {2.0}, float[12,1,7,7] w14, float[4,4] w15,
    int64[1] one = {1}, int64[1] nil = {0}, int64[1] many = {9223372036854775807},
    int64[6] parted = {-1, 2, 2, 2, 2, 12},
    int64[3] windows = {-1, 4, 12}, int64[4] back = {-1, 4, 4, 12}>"""


def parsed(
    body: str, *, weights: str = WEIGHTS, size: str = "3,16,16", batch: str = "N", out: str = "10"
) -> onnx.ModelProto:
    model = parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        net (float[{batch},{size}] x) => (float[{batch},{out}] y) {weights} {{ {body} }}"""
    )
    rng = np.random.default_rng(5)
    for value in model.graph.value_info:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        spread = 1.5 / np.sqrt(max(np.prod(shape[1:]), 1))
        model.graph.initializer.append(
            numpy_helper.from_array(rng.normal(scale=spread, size=shape).astype(np.float32), value.name)
        )
    del model.graph.value_info[:]
    return model


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest) -> onnx.ModelProto:
    return parsed(NETS[request.param])


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, size=(41, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def labels(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 10, size=41)


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    left, right = (side.reshape(len(side), -1).astype(np.float64) for side in (left, right))
    return (left * right).sum(axis=1) / (np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1))


def test_gradients_and_scores_equal_those_of_torch(
    net: onnx.ModelProto, images: np.ndarray, labels: np.ndarray, torch_reference: ModuleType
) -> None:
    twin = Twin.open(net, SMALL, threads=1)
    batch = SMALL.tensor(images)
    reference = torch_reference.TorchModel(net, torch_reference.torch.float64)

    ours = twin.gradient_input(batch, labels)

    assert cosines(ours.gradient, reference.gradient(batch, labels)).min() > 0.999999
    scores = reference(torch_reference.torch.from_numpy(batch).double()).numpy()
    np.testing.assert_allclose(ours.scores, scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(twin.scores(images), ours.scores)


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
@pytest.mark.parametrize("threads", [1, 2])
def test_an_image_has_the_same_gradient_bits_in_every_batch_and_with_every_thread_count(
    net: onnx.ModelProto, images: np.ndarray, labels: np.ndarray, batch: int, threads: int
) -> None:
    expected = Twin.open(net, SMALL, threads=1, batch=16).gradient(images, labels)

    gradient = Twin.open(net, SMALL, threads=threads, batch=batch).gradient(images, labels)

    np.testing.assert_array_equal(gradient, expected)


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_the_pixel_gradient_of_a_linear_model_is_its_weights_over_255_std(
    layout: str, colour: str, rng: np.random.Generator
) -> None:
    size = "3,4,4" if layout == "nchw" else "4,4,3"
    model = parsed("f = Flatten(x) y = MatMul(f, w)", weights="<float[48,2] w>", size=size, out="2")
    pipeline = Pipeline.from_mapping({**CIFAR.to_json(), "layout": layout, "colour": colour, "size": 4})
    images = rng.integers(0, 256, size=(3, 4, 4, 3), dtype=np.uint8)
    labels = np.array([0, 1, 0])
    weights = numpy_helper.to_array(model.graph.initializer[0]).astype(np.float64)

    gradient = Twin.open(model, pipeline).gradient(images, labels)

    logits = pipeline.tensor(images).reshape(3, -1).astype(np.float64) @ weights
    wrong = 1 / (1 + np.exp(logits[range(3), labels] - logits[range(3), 1 - labels]))
    difference = weights[:, 1 - labels] - weights[:, labels]
    inputs = (wrong * difference).T.reshape(3, *(int(side) for side in size.split(",")))
    pixels = inputs.transpose(0, 2, 3, 1) if layout == "nchw" else inputs
    levels = (pixels / (255 * np.array(pipeline.std)))[..., :: 1 if colour == "rgb" else -1]
    np.testing.assert_allclose(gradient, levels, rtol=1e-4, atol=1e-9)
    assert gradient.flags.c_contiguous
    assert gradient.dtype == np.float32


def test_a_sure_image_still_has_an_exact_gradient() -> None:
    model = parsed("y = Flatten(x)", weights="", size="3,1,1", out="3")
    twin = Twin.open(model, CIFAR.for_size(1, 1))
    logits = np.float32([30, 0, 5]).reshape(1, 3, 1, 1)

    gradient = twin.gradient_input(logits, np.array([0])).gradient.ravel()

    others = np.exp(np.float64([-30, -25]))
    np.testing.assert_allclose(gradient, [-others.sum(), *others], rtol=1e-5)


@pytest.mark.parametrize(
    "tail",
    [
        "y = Softmax(z)",
        "y = LogSoftmax(z)",
        "p = Softmax<axis=1>(z) y = Identity(p)",
        "p = Softmax(z) q = QuantizeLinear(p, qs, qo) y = DequantizeLinear(q, qs, qo)",
    ],
)
def test_a_trailing_softmax_changes_no_gradient(tail: str, images: np.ndarray, labels: np.ndarray) -> None:
    body = NETS["residual"].replace("y = Gemm", "z = Gemm")
    weights = WEIGHTS.replace(">", ", float qs = {0.00390625}, uint8 qo = {0}>") if "Quantize" in tail else WEIGHTS
    expected = Twin.open(parsed(NETS["residual"]), SMALL, threads=1)

    twin = Twin.open(parsed(f"{body} {tail}", weights=weights), SMALL, threads=1)

    np.testing.assert_array_equal(twin.gradient(images, labels), expected.gradient(images, labels))
    np.testing.assert_array_equal(twin.scores(images), expected.scores(images))


def quantized(straight_through: bool) -> Twin:
    """Quantize weights and one activation in the text; the weights are constants behind DequantizeLinear."""
    weights = """<int8[8,3,3,3] q, float[8] s, int8[8] z, float a = {0.02}, uint8 o = {0}, float[10,8] w>"""
    model = parsed(
        """v = DequantizeLinear<axis=0>(q, s, z) c = Conv(x, v) r = Relu(c)
        i = QuantizeLinear(r, a, o) d = DequantizeLinear(i, a, o)
        g = GlobalAveragePool(d) f = Flatten(g) y = Gemm<transB=1>(f, w)""",
        weights=weights,
    )
    rng = np.random.default_rng(1)
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in "qsz"]
    kept.append(numpy_helper.from_array(rng.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8), "q"))
    kept.append(numpy_helper.from_array(rng.uniform(0.001, 0.003, 8).astype(np.float32), "s"))
    kept.append(numpy_helper.from_array(np.zeros(8, np.int8), "z"))
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return Twin.open(model, SMALL, threads=1, straight_through=straight_through)


def test_a_qdq_model_has_gradients_only_with_straight_through(images: np.ndarray, labels: np.ndarray) -> None:
    assert quantized(straight_through=True).gradient(images, labels).any(axis=(1, 2, 3)).all()
    assert not quantized(straight_through=False).gradient(images, labels).any()


def test_a_model_whose_batch_is_fixed_is_padded(images: np.ndarray, labels: np.ndarray) -> None:
    body = NETS["residual"].replace("f = Flatten(g)", "k0 = Constant<value_ints=[4, 24]>() f = Reshape(g, k0)")
    free = Twin.open(parsed(NETS["residual"]), SMALL, threads=1)

    fixed = Twin.open(parsed(body, batch="4"), SMALL, threads=1)

    np.testing.assert_array_equal(fixed.gradient(images, labels), free.gradient(images, labels))


def test_no_images_give_no_gradients() -> None:
    twin = Twin.open(parsed(NETS["residual"]), SMALL, threads=1)

    assert twin.gradient(np.empty((0, 16, 16, 3), np.uint8), np.empty(0, np.int64)).shape == (0, 16, 16, 3)


def test_the_backward_graph_is_a_valid_onnx_model(net: onnx.ModelProto) -> None:
    onnx.checker.check_model(cross_entropy_graph(net), full_check=True)


def test_the_model_handed_in_is_not_changed(net: onnx.ModelProto) -> None:
    before = net.SerializeToString(deterministic=True)

    Twin.open(net, SMALL, threads=1)

    assert net.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("bad", [np.full(41, 10), np.full(41, -1), np.zeros(40, np.int64), np.zeros(41)])
def test_labels_that_do_not_fit_are_refused(bad: np.ndarray, images: np.ndarray) -> None:
    twin = Twin.open(parsed(NETS["residual"]), SMALL, threads=1)

    with pytest.raises(InputError, match="labels"):
        twin.gradient(images, bad)


def test_a_preset_that_does_not_fit_the_model_is_refused() -> None:
    with pytest.raises(InputError, match=r"gives nchw images of \[3, 32, 32\], the model takes \[3, 16, 16\]"):
        Twin.open(parsed(NETS["residual"]), CIFAR)


def test_raw_uint8_input_and_an_empty_batch_are_refused() -> None:
    raw = Pipeline.from_mapping({**SMALL.to_json(), "dtype": "uint8"})

    with pytest.raises(UnsupportedError, match="no gradient"):
        Twin.open(parsed(NETS["residual"]), raw)
    with pytest.raises(InputError, match="`batch`"):
        Twin.open(parsed(NETS["residual"]), SMALL, batch=0)


def test_what_is_no_classifier_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"\(N, classes\)"):
        Twin.open(parsed("y = Relu(x)", weights="", out="3,16,16"), SMALL)


def test_agreement_counts_same_answers_with_the_lowest_index_on_ties() -> None:
    logits = np.array([[3.0, 1.0], [2.0, 2.0], [0.0, 1.0], [5.0, 0.0]])
    engine = np.array([[9, 1], [7, 7], [4, 2], [8, 8]])

    found = agreement(logits, engine)

    assert (found.value, found.n) == (0.75, 4)
    assert 0 < found.low < 0.75 < found.high < 1


def test_agreement_of_different_shapes_or_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="same images"):
        agreement(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(InputError, match="same images"):
        agreement(np.zeros((0, 3)), np.zeros((0, 3)))


def real_images(folder: Path, pipeline: Pipeline, count: int) -> tuple[np.ndarray, np.ndarray]:
    dataset = open_dataset(folder).subset(count, seed=0)
    loaded = [pipeline.load(sample.read()) for sample in dataset.samples]
    return np.stack(loaded), np.array([sample.label for sample in dataset.samples])


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("model", "data", "preset", "dtype", "count"),
    [
        ("resnet20_cifar10_float", "cifar10_2000", "cifar10", "float64", 64),
        ("mobilenet_v2_float", "imagenet600", "tflite-mobilenet", "float32", 6),  # in float64 torch takes minutes
    ],
)
def test_gradients_of_real_models_equal_those_of_torch(
    realdata: Path, torch_reference: ModuleType, model: str, data: str, preset: str, dtype: str, count: int
) -> None:
    pipeline = PRESETS[preset]
    images, labels = real_images(realdata / "data" / data, pipeline, count)
    path = realdata / "models" / f"{model}.onnx"
    reference = torch_reference.TorchModel(onnx.load(path), getattr(torch_reference.torch, dtype))

    ours = Twin.open(path, pipeline, threads=1).gradient_input(pipeline.tensor(images), labels)

    assert cosines(ours.gradient, reference.gradient(pipeline.tensor(images), labels)).min() >= 0.9999
