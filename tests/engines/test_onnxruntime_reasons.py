from collections.abc import Callable

import pytest
from onnx import ModelProto

from robustmq_trt.engines.onnx_graph import Graph
from robustmq_trt.engines.onnxruntime_reasons import NOT_DETERMINED, why_float

Parse = Callable[[str], ModelProto]

INT8 = """
g (float[N,3,8,8] x) => (float[N,4,8,8] y)
<float s = {0.02}, int8 z = {0}, float t = {0.01}> {
  xq = QuantizeLinear (x, s, z)
  xd = DequantizeLinear (xq, s, z)
  wq = QuantizeLinear (w, t, z)
  wd = DequantizeLinear (wq, t, z)
  h = Conv <pads = [1,1,1,1]> (xd, wd, b)
  hq = QuantizeLinear (h, s, z)
  y = DequantizeLinear (hq, s, z)
}"""


def reason(model: ModelProto) -> str:
    graph = Graph.of(model)
    return why_float(graph, next(node for node in graph.nodes if node.op_type == "Conv"))


def test_float_model(parsed: Parse, float_text: str):
    assert reason(parsed(float_text)) == "float model"


def test_float_weights(parsed: Parse):
    assert reason(parsed(INT8.replace("(xd, wd, b)", "(xd, w, b)"))) == "weights are float"


def test_float_input(parsed: Parse):
    assert reason(parsed(INT8.replace("(xd, wd, b)", "(x, wd, b)"))) == "input tensor 'x' has no QuantizeLinear"


def test_float_output(parsed: Parse):
    text = INT8.replace("hq = QuantizeLinear (h, s, z)\n  y = DequantizeLinear (hq, s, z)", "y = Identity (h)")

    assert reason(parsed(text)) == "output tensor 'h' has no QuantizeLinear"


def test_output_with_a_second_reader(parsed: Parse):
    text = INT8.replace("y = DequantizeLinear (hq, s, z)", "hd = DequantizeLinear (hq, s, z)\n  y = Add (h, hd)")

    assert reason(parsed(text)) == "output tensor 'h' has no QuantizeLinear of its own"


def test_relu_on_a_symmetric_int8_grid(parsed: Parse):
    text = INT8.replace("hq = QuantizeLinear (h, s, z)", "r = Relu (h)\n  hq = QuantizeLinear (r, s, z)")

    assert reason(parsed(text)) == (
        "Relu between Conv and QuantizeLinear not folded: an int8 grid around zero represents negative values"
    )


def test_sixteen_bit_activations(parsed: Parse):
    text = INT8.replace("int8 z = {0}", "int8 z = {0}, int16 z16 = {0}").replace("(x, s, z)", "(x, s, z16)")

    assert reason(parsed(text.replace("(xq, s, z)", "(xq, s, z16)"))) == (
        "activation type int16 has no integer Conv kernel"
    )


def test_int8_tensor_that_feeds_two_layers(parsed: Parse):
    text = INT8.replace("y = DequantizeLinear (hq, s, z)", "hd = DequantizeLinear (hq, s, z)\n  y = Add (hd, hd)")

    assert reason(parsed(text)).startswith("tensor 'hd' stays int8 because it feeds 2 layers")


def test_what_no_rule_explains_is_said_to_be_undetermined(parsed: Parse):
    assert reason(parsed(INT8)) == NOT_DETERMINED


@pytest.mark.parametrize("operator", ["LSTM", "Einsum"])
def test_operators_outside_the_count_have_no_integer_kernel(parsed: Parse, operator: str):
    model = parsed(INT8)
    model.graph.node[4].op_type = operator
    graph = Graph.of(model)

    layer = graph.layers()[0]

    assert why_float(graph, layer) == "operator has no integer kernel"
    assert graph.macs(layer) is None
