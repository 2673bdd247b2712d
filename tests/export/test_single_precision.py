"""A float16 model, widened, keeps its weights and leaves its roundings out."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from robustmq_trt.export.float16 import to_float16
from robustmq_trt.export.prepare import prepare
from robustmq_trt.export.signature import classifier_signature

NET = """<ir_version: 8, opset_import: ["" : 17]>
net (KIND[N,3,8,8] x) => (KIND[N,5] y) {
    zero = ConstantOfShape <value = FILLING {0}> (none)
    wide = Cast <to = 1> (x)
    narrow = Cast <to = TYPE> (wide)
    c = Conv <pads = [1, 1, 1, 1]> (narrow, w1, b1)
    r = Clip (c, zero, six)
    p = GlobalAveragePool (r)
    f = Flatten (p)
    y = Gemm <transB = 1> (f, w2, b2)
}"""
SHAPES = {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (5, 4), "b2": (5,)}


def made(kind: str) -> onnx.ModelProto:
    """The same network with the same weights in one precision or the other."""
    number = {"float": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}[kind]
    text = NET.replace("KIND", kind).replace("TYPE", str(number))
    model = parser.parse_model(text.replace("FILLING", f"{kind}[1]"))
    rng = np.random.default_rng(0)
    dtype = {"float": np.float32, "float16": np.float16}[kind]
    for name, shape in SHAPES.items():
        value = rng.normal(size=shape).astype(np.float16).astype(dtype)
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    model.graph.initializer.append(numpy_helper.from_array(np.array(6, dtype), "six"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(0, np.int64), "none"))
    return model


def answers(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return np.asarray(ReferenceEvaluator(model).run(None, {"x": x})[0])


def types(model: onnx.ModelProto) -> set[int]:
    tensors = {tensor.data_type for tensor in model.graph.initializer}
    return tensors | {entry.type.tensor_type.elem_type for entry in (*model.graph.input, *model.graph.output)}


def test_a_widened_model_computes_what_the_float32_model_of_its_weights_does(rng: np.random.Generator) -> None:
    x = rng.normal(size=(3, 3, 8, 8)).astype(np.float32)

    prepared = prepare(made("float16"))

    assert TensorProto.FLOAT16 not in types(prepared.model)
    np.testing.assert_array_equal(answers(prepared.model, x), answers(prepare(made("float")).model, x))
    assert classifier_signature(prepared.model).classes == 5
    assert any("is in float16" in note for note in prepared.notes)


def test_a_float32_model_stays_as_it_is_and_nothing_is_said() -> None:
    assert not any("float16" in note for note in prepare(made("float")).notes)


@pytest.mark.parametrize("keep", [(), ("n1",)])
def test_a_model_that_is_float16_inside_alone_is_widened_too(keep: tuple[str, ...], rng: np.random.Generator) -> None:
    x = rng.normal(size=(3, 3, 8, 8)).astype(np.float32)
    whole = prepare(made("float")).model
    for index, node in enumerate(whole.graph.node):
        node.name = f"n{index}"

    widened = prepare(to_float16(whole, keep_float=keep)).model

    np.testing.assert_array_equal(answers(widened, x), answers(whole, x))
    assert len(widened.graph.node) == len(whole.graph.node)
