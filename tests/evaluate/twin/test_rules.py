"""The gradient of every operator against finite differences in double, and what has none."""

from collections.abc import Callable
from pathlib import Path
from runpy import run_path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from scipy import special, stats

from robustmq_trt.core.errors import UnsupportedError
from robustmq_trt.evaluate.twin.backward import GRADIENT, product_graph
from robustmq_trt.evaluate.twin.rules import RULES

TABLE = run_path(str(Path(__file__).with_name("rule_cases.py")))
Case, CASES = TABLE["Case"], TABLE["CASES"]


class Erf(OpRun):
    """The error function in double; onnx 1.23's reference rounds it to single precision."""

    op_domain = ""

    def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
        return (special.erf(x).astype(x.dtype),)


class Gelu(OpRun):
    """The exact and the approximate Gelu in double."""

    op_domain = ""

    def _run(self, x: np.ndarray, approximate: str = "none") -> tuple[np.ndarray]:
        bend = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
        return ((x / 2 * (1 + bend) if approximate == "tanh" else x * stats.norm.cdf(x)).astype(x.dtype),)


class GroupNormalization(OpRun):
    """Group normalisation in double; onnx 1.23's reference computes its statistics in single precision."""

    op_domain = ""

    def _run(
        self, x: np.ndarray, scale: np.ndarray, bias: np.ndarray, epsilon: float, num_groups: int, stash_type: int
    ) -> tuple[np.ndarray]:
        rows = x.reshape(len(x), num_groups, -1)
        centred = rows - rows.mean(axis=2, keepdims=True)
        normed = (centred / np.sqrt((centred**2).mean(axis=2, keepdims=True) + epsilon)).reshape(x.shape)
        channels = (-1, *[1] * (x.ndim - 2))
        return ((normed * scale.reshape(channels) + bias.reshape(channels)).astype(x.dtype),)


EXACT = [Erf, Gelu, GroupNormalization]

ALL = [
    pytest.param(name, case, id=f"{name}-{number}")
    for name, cases in CASES.items()
    for number, case in enumerate(cases)
]


def build(case: Case, kind: str, *, body: str = "", constants: str = "") -> onnx.ModelProto:
    """Parse a case for one float type and fill constants that have no value."""
    declared = (constants or case.constants).replace("T", kind)
    text = f"""<ir_version: 8, opset_import: ["" : {case.opset}]>
        case ({kind}[{case.shape}] x) => ({kind}[] y) {f"<{declared}>" if declared else ""} {{ {body or case.body} }}"""
    number = {"float": "1", "double": "11"}[kind]
    model = parser.parse_model(text.replace("KIND", number))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    rng = np.random.default_rng(7)
    for value in model.graph.value_info:
        tensor = value.type.tensor_type
        filled = rng.normal(size=[dim.dim_value for dim in tensor.shape.dim])
        filled = np.abs(filled) + 0.5 if value.name == "positive" else filled
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        model.graph.initializer.append(numpy_helper.from_array(filled.astype(dtype), value.name))
    del model.graph.value_info[:]
    return model


def finite_differences(function: Callable[[np.ndarray], float], x: np.ndarray) -> np.ndarray:
    gradient = np.empty_like(x)
    for index in np.ndindex(*x.shape):
        shift = np.zeros_like(x)
        shift[index] = 1e-6
        gradient[index] = (function(x + shift) - function(x - shift)) / 2e-6
    return gradient


def forward_of(case: Case, name: str) -> ReferenceEvaluator:
    """The function to differentiate numerically: the graph itself, or the clipping that straight-through keeps."""
    if not case.like:
        return ReferenceEvaluator(build(case, "double"), new_ops=EXACT)
    model = build(case, "float")
    scale, *zero_point = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer)
    zero = int(zero_point[0]) if zero_point else 0
    low, high = (-128, 127) if zero_point and zero_point[0].dtype == np.int8 else (0, 255)
    bounds = [(low - 0.5 - zero) * float(scale), (high + 0.5 - zero) * float(scale)]
    constants = f"double c = {{{bounds[0]}}}, double c1 = {{{bounds[1]}}}"
    return ReferenceEvaluator(build(case, "double", body=case.like, constants=constants))


def kind_of(case: Case) -> str:
    """ONNX has no quantizers for double, and onnx 1.23's reference no grouped ConvTranspose of several filters."""
    return "float" if case.like or "8,1,3,3" in case.constants else "double"


def run_session(graph: onnx.ModelProto, x: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run([GRADIENT], {"x": x, "cotangent": cotangent})[0]


def gradient_of(model: onnx.ModelProto, x: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
    """Run the backward graph by ONNX's reference in double, else by ONNX Runtime.

    The reference names wrong winners for MaxPool windows that are not square (onnx 1.23).
    """
    graph = product_graph(model)
    dtype = helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
    x, cotangent = x.astype(dtype), cotangent.astype(dtype)
    if dtype == np.float32 or any(node.op_type == "MaxPool" for node in model.graph.node):
        return run_session(graph, x, cotangent)
    return ReferenceEvaluator(graph, new_ops=EXACT).run([GRADIENT], {"x": x, "cotangent": cotangent})[0]


def inputs(case: Case, forward: ReferenceEvaluator) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=[int(size) for size in case.shape.split(",")])
    return x, rng.normal(size=np.shape(forward.run(None, {"x": x})[0]))


def test_every_rule_has_a_case_and_every_case_a_rule() -> None:
    assert CASES.keys() == RULES.keys()


@pytest.mark.parametrize(("name", "case"), ALL)
def test_the_gradient_is_the_limit_of_finite_differences(name: str, case: Case) -> None:
    forward = forward_of(case, name)
    x, cotangent = inputs(case, forward)
    model = build(case, kind_of(case))
    assert name in {node.op_type for node in model.graph.node}

    gradient = gradient_of(model, x, cotangent)

    expected = finite_differences(lambda point: float(np.sum(cotangent * forward.run(None, {"x": point})[0])), x)
    tolerance = 1e-6 if kind_of(case) == "double" else 1e-5
    np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "case"), ALL)
def test_onnx_runtime_gives_the_reference_gradient(name: str, case: Case) -> None:
    x, cotangent = inputs(case, forward_of(case, name))
    expected = gradient_of(build(case, kind_of(case)), x, cotangent)

    gradient = run_session(product_graph(build(case, "float")), x.astype(np.float32), cotangent.astype(np.float32))

    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


def test_max_pool_sends_a_tie_to_the_first_winner_only() -> None:
    model = build(Case("1,1,2,2", "y = MaxPool<kernel_shape=[2, 2]>(x)"), "float")

    gradient = gradient_of(model, np.ones((1, 1, 2, 2)), np.full((1, 1, 1, 1), 3))

    np.testing.assert_array_equal(gradient, [[[[3, 0], [0, 0]]]])


@pytest.mark.parametrize("body", ["y = Relu(x)", "y = Clip(x, c, c1)", "y = HardSigmoid<alpha=1.0, beta=0.0>(x)"])
def test_the_gradient_at_a_kink_is_zero(body: str) -> None:
    model = build(Case("3", body, "float c = {0}, float c1 = {1}" if "Clip" in body else ""), "float")
    twin = ReferenceEvaluator(product_graph(model))

    gradient = twin.run([GRADIENT], {"x": np.float32([0, 0.5, 0]), "cotangent": np.ones(3, np.float32)})[0]

    np.testing.assert_array_equal(gradient, [0, 1, 0])


def test_without_straight_through_rounding_has_the_literal_gradient_zero() -> None:
    case = CASES["QuantizeLinear"][0]
    x, cotangent = inputs(case, forward_of(case, ""))
    twin = product_graph(build(case, "float"), straight_through=False)

    gradient = run_session(twin, x.astype(np.float32), cotangent.astype(np.float32))

    assert not gradient.any()


@pytest.mark.parametrize(
    ("body", "constants", "part"),
    [
        ("y = ThresholdedRelu(x)", "", "'ThresholdedRelu'"),
        ('y = Einsum<equation="ijkl->ijk">(x)', "", "sums one on its own"),
        ('y = Einsum<equation="ijkl">(x)', "", "no explicit result"),
        ("a = Relu(x) y = PRelu(x, a)", "", "slope depends"),
        ("y = ReduceSum<noop_with_empty_axes=1>(x)", "", "reduces over nothing"),
        ("y = Conv(x, x)", "", "weights depend on the images"),
        ('y = Pad<mode="reflect">(x, p)', "int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1}", "only constant padding"),
        ("y = Pad(x, p)", "int64[8] p = {0, 0, -1, 0, 0, 0, 0, 0}", "negative padding"),
        ("a = ReduceMean(x) y = Clip(x, a)", "", "bounds depend"),
        ("a = Cast<to=10>(x) y = Cast<to=1>(a)", "", "changes the type"),
        ("a = Shape(x) y = Cast<to=1>(a)", "", "does not depend smoothly"),
        ("a = ReduceMean(x) y = Pow(x, a)", "", "computed from the images"),
        ("a = Relu(x) y = LayerNormalization<axis=0>(x, a)", "", "scale or bias depends"),
        (
            "y = AveragePool<kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1, count_include_pad=1>(x)",
            "",
            "counted differently",
        ),
    ],
)
def test_what_has_no_gradient_is_refused_by_name(body: str, constants: str, part: str) -> None:
    model = build(Case("1,3,6,5", body, constants), "float")

    with pytest.raises(UnsupportedError, match=part):
        product_graph(model)


def test_an_unknown_operator_is_refused_with_its_node_and_the_known_ones() -> None:
    model = build(Case("2,3", "y = ThresholdedRelu(x)"), "float")
    model.graph.node[0].name = "head/activation"

    with pytest.raises(
        UnsupportedError, match=r"'head/activation' \(operator 'ThresholdedRelu'\).*Abs, Add, AveragePool"
    ) as caught:
        product_graph(model)

    assert caught.value.exit_code == 2
