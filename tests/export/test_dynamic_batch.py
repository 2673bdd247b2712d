from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from robustmq_trt.export.onnx_file import read_model
from robustmq_trt.export.prepare import prepare


def test_a_shape_chain_under_a_dynamic_batch_becomes_a_constant_reshape(make_net, operators):
    prepared = prepare(make_net("shape_chain")).model

    assert operators(prepared) == {"Conv": 1, "Relu": 1, "GlobalAveragePool": 1, "Reshape": 1, "Gemm": 1}


def test_a_batch_axis_that_moved_becomes_minus_one(make_model, images, run_reference, operators, assert_close):
    model = make_model("""
    net (float[N,3,8,8] image) => (float[N,6] scores) <int64[1] first = {0}, int64[2] two = {2, 3}> {
        c = Conv(image, w)
        g = GlobalAveragePool(c)
        f = Flatten(g)
        t = Transpose<perm=[1,0]>(f)
        s = Shape(image)
        n = Gather(s, first)
        target = Concat<axis=0>(two, n)
        u = Reshape(t, target)
        v = Transpose<perm=[2,0,1]>(u)
        scores = Flatten(v)
    }""")
    batch = images(model, 3)

    prepared = prepare(model).model

    assert "Shape" not in operators(prepared)
    assert -1 in [int(v) for t in prepared.graph.initializer if t.data_type == 7 for v in numpy_helper.to_array(t)]
    assert_close(run_reference(prepared, batch), run_reference(model, batch))


def test_a_fixed_batch_becomes_dynamic(make_net, images, run_ort, run_reference, assert_close):
    model = make_net("fixed_reshape")
    batch = images(model, 3)

    prepared = prepare(model)

    assert prepared.notes == ()
    one_by_one = np.concatenate([run_reference(model, batch[i : i + 1]) for i in range(3)])
    assert_close(run_ort(prepared.model, batch), one_by_one)
    assert_close(run_ort(prepared.model, batch[:1]), one_by_one[:1])


MIXING = {
    "a mean over the batch": "m = ReduceMean<axes=[0], keepdims=1>(f)\n s = Sub(f, m)",
    "a softmax over the batch": "s = Softmax<axis=0>(f)",
    "a reshape that moves the batch": (
        "t = Constant<value_ints=[6, 1]>()\n u = Reshape(f, t)\n s = Transpose<perm=[1,0]>(u)"
    ),
    "two copies of the batch": "s = Concat<axis=0>(f, f)",
    "a product of images": "o = Gemm<transB=1>(f, f)\n s = MatMul(o, f)",
    "a flatten that takes the batch in": (
        "v = Flatten<axis=2>(image)\n m = ReduceMax<axes=[0, 1], keepdims=1>(v)\n s = Add(f, m)"
    ),
    "a branch that reads the batch": """on = Constant<value = bool {1}>()
        s = If (on) <then_branch = a () => (float[1,6] p) { p = Neg(f) },
                     else_branch = b () => (float[1,6] q) { q = Abs(f) }>""",
}


@pytest.mark.parametrize("body", MIXING.values(), ids=MIXING.keys())
def test_a_batch_that_is_mixed_stays_fixed_and_the_note_says_why(body, make_model):
    model = make_model(f"""
    net (float[1,3,8,8] image) => (float[M,5] logits) {{
        c = Conv(image, w)
        g = GlobalAveragePool(c)
        f = Flatten(g)
        {body}
        logits = Gemm<transB=1>(s, fw, fb)
    }}""")

    prepared = prepare(model)

    assert "fixed at 1" in prepared.notes[0]
    assert prepared.model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


BLOCKS = {
    "broadcast bias": "s = Add(f, k)",
    "transposed weight": "t = Transpose<perm=[1,0]>(k6)\n s = MatMul(f, t)",
    "softmax gate": "a = Softmax<axis=1>(f)\n s = Mul(a, f)",
    "unsqueeze and squeeze": "x = Constant<value_ints=[1]>()\n u = Unsqueeze(f, x)\n s = Squeeze(u, x)",
    "split and concat": "a, b = Split<axis=1>(f, half)\n s = Concat<axis=1>(b, a)",
    "slice and pad": (
        "z = Constant<value_ints=[0]>()\n e = Constant<value_ints=[4]>()\n x = Constant<value_ints=[1]>()\n"
        "t = Slice(f, z, e, x)\n p = Constant<value_ints=[0, 0, 0, 2]>()\n s = Pad(t, p)"
    ),
}


@pytest.mark.parametrize("body", BLOCKS.values(), ids=BLOCKS.keys())
def test_a_fixed_batch_becomes_dynamic_through(body, make_model, images, run_ort, run_reference, assert_close):
    rng = np.random.default_rng(3)
    own = {
        "w": rng.normal(size=(6, 3, 3, 3)).astype(np.float32),
        "fw": rng.normal(size=(5, 6)).astype(np.float32),
        "fb": rng.normal(size=5).astype(np.float32),
        "k": rng.normal(size=(1, 6)).astype(np.float32),
        "k6": rng.normal(size=(6, 6)).astype(np.float32),
        "half": np.array([3, 3]),
    }
    model = make_model(
        f"""
    net (float[1,3,8,8] image) => (float[1,5] logits) {{
        c = Conv(image, w)
        g = GlobalAveragePool(c)
        f = Flatten(g)
        {body}
        logits = Gemm<transB=1>(s, fw, fb)
    }}""",
        own,
    )
    batch = images(model, 3)

    prepared = prepare(model)

    assert prepared.notes == ()
    one_by_one = np.concatenate([run_reference(model, batch[i : i + 1]) for i in range(3)])
    assert_close(run_ort(prepared.model, batch), one_by_one)


@pytest.mark.realdata
@pytest.mark.parametrize("batch_axis", [1, 2])
def test_a_real_model_with_fixed_batch_becomes_dynamic(batch_axis, realdata, images, run_ort, assert_close):
    model = read_model(realdata / "models/resnet20_cifar10_float.onnx")
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for entry in (*fixed.graph.input, *fixed.graph.output):
        entry.type.tensor_type.shape.dim[0].dim_value = batch_axis
    batch = images(model, 3)

    prepared = prepare(fixed)

    assert prepared.notes == ()
    assert_close(run_ort(prepared.model, batch), run_ort(model, batch))


def test_a_reshape_for_which_zero_means_zero_takes_any_batch_too(
    make_model, images, run_ort, run_reference, assert_close
):
    model = make_model("""
    net (float[2,3,8,8] image) => (float[2,5] logits) {
        c = Conv(image, w)
        g = GlobalAveragePool(c)
        t = Constant<value_ints = [2, 6]>()
        f = Reshape<allowzero = 1>(g, t)
        logits = Gemm<transB=1>(f, fw, fb)
    }""")
    model.opset_import[0].version = 17
    batch = images(model, 2)

    prepared = prepare(model)

    assert prepared.notes == ()
    expected = run_reference(model, batch)
    assert_close(run_ort(prepared.model, batch), expected)
    assert_close(run_ort(prepared.model, batch[:1]), expected[:1])
