import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from robustmq_trt.core.errors import InputError
from robustmq_trt.core.precision import Precision
from robustmq_trt.core.recipe import LayerRule, Recipe
from robustmq_trt.export.layer_bits import layer_bits, weight_bits

NET = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,4,4] image) => (float[N,2] logits) {
    s = Neg(image)
    a = Conv(s, w1)
    r = Relu(a)
    b = Conv(r, w2)
    c = Conv(b, w2)
    d = Add(r, c)
    g = GlobalAveragePool(d)
    f = Flatten(g)
    logits = Gemm<transB=1>(f, w3)
}"""


NAMES = ("shift", "first", "relu", "middle", "again", "sum", "pool", "flat", "last")
W4A3 = Precision(weights=4, activations=3)


@pytest.fixture
def model() -> onnx.ModelProto:
    made = parser.parse_model(NET)
    for name, shape in (("w1", (3, 3, 1, 1)), ("w2", (3, 3, 1, 1)), ("w3", (2, 3))):
        made.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    for node, name in zip(made.graph.node, NAMES, strict=True):
        node.name = name
    return made


def test_the_ends_keep_8_bits_and_what_lies_outside_them_too(model):
    bits = layer_bits(model, Recipe(precision=W4A3))

    assert [bits.activations(name) for name in NAMES] == [8, 8, 3, 3, 3, 3, 3, 3, 8]
    assert [bits.weights(name) for name in ("first", "middle", "again", "last")] == [8, 4, 4, 8]
    assert bits.output == 8


def test_without_that_every_layer_gets_the_default(model):
    bits = layer_bits(model, Recipe(precision=W4A3, keep_ends=False))

    assert {bits.activations(name) for name in NAMES} == {3}
    assert {bits.weights(name) for name in NAMES} == {4}
    assert bits.output == 3


def test_an_exception_goes_before_the_ends_and_the_default(model):
    layers = {"first": LayerRule(weights=2), "middle": LayerRule(activations=6), "sum": LayerRule(activations=5)}

    bits = layer_bits(model, Recipe(precision=W4A3, layers=layers))

    assert (bits.weights("first"), bits.activations("first")) == (2, 8)
    assert (bits.weights("middle"), bits.activations("middle")) == (4, 6)
    assert bits.activations("sum") == 5


def test_a_shared_weight_gets_the_most_bits_any_of_its_layers_asks_for(model):
    recipe = Recipe(precision=W4A3, layers={"again": LayerRule(weights=6)})

    assert weight_bits(model, recipe) == {"w1": 8, "w2": 6, "w3": 8}


def test_a_layer_in_float_has_no_weight_on_a_grid_and_reads_8_bits(model):
    recipe = Recipe(precision=W4A3, layers={"last": LayerRule(keep_float=True)})

    assert weight_bits(model, recipe) == {"w1": 8, "w2": 4}
    assert layer_bits(model, recipe).activations("last") == 8


def test_an_unknown_layer_is_refused_with_a_hint(model):
    with pytest.raises(InputError, match=r"Unknown layer 'midddle'\. Did you mean 'middle'"):
        layer_bits(model, Recipe(precision=W4A3, layers={"midddle": LayerRule(weights=8)}))


def test_bits_for_weights_that_a_node_does_not_have_are_refused(model):
    with pytest.raises(InputError, match="'sum' has no weights"):
        layer_bits(model, Recipe(precision=W4A3, layers={"sum": LayerRule(weights=8)}))
