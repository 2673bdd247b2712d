import onnx.parser
import pytest

from robustmq_trt.calib.graph import absorbed_tensors, activation_tensors, fixed_batch, model_input
from robustmq_trt.core.errors import InputError


def parse(body: str, signature: str = "(float[N,4] x) => (float[N,4] y)") -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {signature} {{ {body} }}')


def test_activations_are_input_and_results_in_order_without_initializers(tiny_model):
    assert activation_tensors(tiny_model) == ("x", "d", "h", "r", "y")


@pytest.mark.parametrize(("side", "size"), [("N", 0), ("3", 3)])
def test_a_model_may_be_fixed_to_a_batch(side, size):
    assert fixed_batch(parse("y = Relu (x)", f"(float[{side},4] x) => (float[{side},4] y)")) == size


def test_tensors_that_are_no_floats_are_left_out():
    model = parse("s = Shape (x) r = Reshape (x, s) y = Relu (r)")

    assert activation_tensors(model) == ("x", "r", "y")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("h = Neg (x) y = Relu (h)", {"h": "y"}),
        ("h = Neg (x) r = Relu (h) y = Clip (r)", {"h": "y", "r": "y"}),
        ("h = Neg (x) r = Relu (h) y = Add (h, r)", {}),
        ("y = Relu (x)", {}),
    ],
    ids=["single reader", "chain", "second reader", "graph input"],
)
def test_a_tensor_is_absorbed_when_only_an_activation_function_reads_it(body, expected):
    assert absorbed_tensors(parse(body)) == expected


def test_a_graph_output_is_never_absorbed():
    model = parse("h = Neg (x) y = Relu (h)", "(float[N,4] x) => (float[N,4] y, float[N,4] h)")

    assert absorbed_tensors(model) == {}


@pytest.mark.parametrize(
    ("signature", "match"),
    [
        ("(float[N,4] x, float[N,4] z) => (float[N,4] y)", "one input, got 2: x, z"),
        ("(double[N,4] x) => (double[N,4] y)", "float32"),
    ],
)
def test_a_model_without_one_float_input_is_refused(signature, match):
    with pytest.raises(InputError, match=match):
        model_input(parse("y = Neg (x)", signature))
