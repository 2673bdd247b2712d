import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from robustmq_trt.calib.fuse import fused_nodes
from robustmq_trt.calib.graph import activation_tensors
from robustmq_trt.calib.probe import Probe, open_model

CONVOLUTION = "c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 2> (x, w, b)"


def net(rng, *lines: str, outputs: str = "float[N,4,8,8] y") -> onnx.ModelProto:
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N,4,8,8] x) => ({outputs}) {{ {" ".join(lines)} }}""")
    weights = {"w": rng.normal(size=(4, 2, 3, 3)), "b": rng.normal(size=4), "low": np.float32(-0.5), "high": [0.75]}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(values, np.float32), name) for name, values in weights.items()
    )
    return model


def operators(model: onnx.ModelProto, kept: tuple[str, ...] = ()) -> list[str]:
    return [node.op_type for node in fused_nodes(model.graph, kept)]


@pytest.mark.parametrize("activation", ["Relu (c)", "Clip (c, low, high)"])
@pytest.mark.parametrize("special", [0.0, np.inf, -np.inf, np.nan])
def test_the_fused_activation_has_the_bits_of_the_two_operators(activation, special, rng):
    model = net(rng, CONVOLUTION, f"a = {activation}", "y = Sigmoid (a)")
    x = rng.normal(size=(1, 4, 8, 8)).astype(np.float32)
    x[0, 1, 4, 4] = special

    plain, fused = (seen(model, tensors, x) for tensors in (("x", "c", "a", "y"), ("x", "a", "y")))

    assert operators(model, ("x", "a", "y")) == ["FusedConv", "Sigmoid"]
    for name in ("a", "y"):
        assert plain[name].tobytes() == fused[name].tobytes()


def seen(model, tensors, x):
    probe = Probe(open_model(model, tensors), tensors)
    return {name: values.copy() for name, values in probe.activations(x)}


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ((CONVOLUTION, "y = Relu (c)"), ("c",)),  # somebody looks at it
        ((CONVOLUTION, "r = Relu (c)", "y = Add (r, c)"), ()),  # somebody else reads it
        ((CONVOLUTION, "y = Add (c, c)"), ()),
        ((CONVOLUTION, "y = Sigmoid (c)"), ()),
        ((CONVOLUTION, "s = Abs (high)", "y = Clip (c, low, s)"), ()),  # a computed bound
        ((CONVOLUTION, "y = Clip (c, low)"), ()),
        ((CONVOLUTION, "y = Clip (c, low, b)"), ()),  # no scalar, which the runtime refuses in its own words
        (("c = Add (x, x)", "y = Relu (c)"), ()),
    ],
)
def test_everything_else_is_left_as_it_is(lines, kept, rng):
    model = net(rng, *lines)

    assert fused_nodes(model.graph, kept) == list(model.graph.node)


def test_an_output_of_the_graph_goes_on_existing(rng):
    model = net(rng, CONVOLUTION, "y = Relu (c)", outputs="float[N,4,8,8] c, float[N,4,8,8] y")

    assert operators(model) == ["Conv", "Relu"]


def test_a_bound_that_is_an_input_can_change_and_is_not_fused(rng):
    model = net(rng, CONVOLUTION, "y = Clip (c, low, high)")
    assert operators(model) == ["FusedConv"]

    model.graph.input.append(helper.make_tensor_value_info("low", onnx.TensorProto.FLOAT, []))

    assert operators(model) == ["Conv", "Clip"]


def test_a_graph_with_a_subgraph_which_may_read_anything_is_left_as_it_is(rng):
    model = net(rng, CONVOLUTION, "r = Relu (c)", "y = Identity (r)")
    branch = helper.make_graph([helper.make_node("Abs", ["c"], ["z"])], "branch", [], [])
    model.graph.node[-1].attribute.append(helper.make_attribute("body", branch))

    assert operators(model) == ["Conv", "Relu", "Identity"]


def test_chains_of_convolutions_keep_their_order(rng):
    second = "d = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 2> (a, w)"
    model = net(rng, CONVOLUTION, "a = Relu (c)", second, "f = Clip (d, low, high)", "y = Add (a, f)")
    tensors = tuple(name for name in activation_tensors(model) if name not in ("c", "d"))
    x = rng.normal(size=(1, 4, 8, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    fused = seen(model, tensors, x)

    assert operators(model, tensors) == ["FusedConv", "FusedConv", "Add"]
    np.testing.assert_allclose(fused["y"], session.run(["y"], {"x": x})[0], rtol=1e-5)
