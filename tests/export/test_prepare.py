from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from robustmq_trt.core.errors import UnsupportedError
from robustmq_trt.export.onnx_file import read_model
from robustmq_trt.export.prepare import prepare

RTOL = 1e-5


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def assert_close(got: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=RTOL * np.abs(expected).max())


@pytest.mark.parametrize("name", ["conv_bn", "softmax", "nhwc", "shape_chain"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_prepare_leaves_the_scores_unchanged(name, seed, make_net, images, run_ort, run_reference):
    model = make_net(name, seed)
    batch = images(model, 3, seed)

    prepared = prepare(model).model

    expected = run_reference(model, batch)
    assert_close(run_reference(prepared, batch), expected)
    assert_close(run_ort(prepared, batch), expected)


def test_prepare_does_not_change_the_model_it_is_given(make_net):
    model = make_net("conv_bn")
    before = model.SerializeToString(deterministic=True)

    prepare(model)

    assert model.SerializeToString(deterministic=True) == before


def test_prepare_is_idempotent(make_net):
    once = prepare(make_net("conv_bn")).model

    twice = prepare(once).model

    assert twice == once


def test_batchnorm_and_dropout_are_gone_and_dead_weights_with_them(make_net):
    prepared = prepare(make_net("conv_bn")).model

    assert operators(prepared) == {"Conv": 1, "Relu": 1, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}
    assert len(prepared.graph.initializer) == 4


def test_a_shape_chain_under_a_dynamic_batch_becomes_a_constant_reshape(make_net):
    prepared = prepare(make_net("shape_chain")).model

    assert operators(prepared) == {"Conv": 1, "Relu": 1, "GlobalAveragePool": 1, "Reshape": 1, "Gemm": 1}


def test_a_batch_axis_that_moved_becomes_minus_one(make_model, images, run_reference):
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


def test_a_fixed_batch_becomes_dynamic(make_net, images, run_ort, run_reference):
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
def test_a_fixed_batch_becomes_dynamic_through(body, make_model, images, run_ort, run_reference):
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


LAYERS: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "conv with bias": ("c = Conv(image, w, b)", {"w": (6, 3, 3, 3), "b": (6,)}),
    "grouped conv": ("c = Conv<group=3>(image, w)", {"w": (6, 1, 3, 3)}),
    "transposed conv": ("c = ConvTranspose(image, w, b)", {"w": (3, 6, 2, 2), "b": (6,)}),
    "grouped transposed conv": ("c = ConvTranspose<group=3>(image, w)", {"w": (3, 2, 2, 2)}),
    "gemm": (
        "f = Flatten(image)\n c = Gemm<alpha=0.5, beta=2.0>(f, w, b)",
        {"w": (192, 6), "b": (6,)},
    ),
    "transposed gemm": ("f = Flatten(image)\n c = Gemm<transB=1>(f, w)", {"w": (6, 192)}),
}


@pytest.mark.parametrize(("layer", "shapes"), LAYERS.values(), ids=LAYERS.keys())
def test_batchnorm_folds_exactly_into(layer, shapes, make_model, images, run_ort, run_reference):
    rng = np.random.default_rng(5)
    own = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    own |= {name: rng.normal(size=6).astype(np.float32) for name in ("gamma", "beta", "mean")}
    own["var"] = rng.uniform(0.01, 3, 6).astype(np.float32)
    model = make_model(
        f"""
    net (float[N,3,8,8] image) => (float[N,M] scores) {{
        {layer}
        n = BatchNormalization<epsilon=0.01>(c, gamma, beta, mean, var)
        scores = Flatten(n)
    }}""",
        own,
    )
    batch = images(model, 2)

    prepared = prepare(model).model

    assert operators(prepared)["BatchNormalization"] == 0
    assert_close(run_ort(prepared, batch), run_ort(model, batch))
    if "ConvTranspose<group" not in layer:  # onnx.reference cannot run it
        assert_close(run_reference(prepared, batch), run_reference(model, batch))


def test_a_weight_two_layers_share_is_copied_not_changed(make_model, images, run_reference):
    model = make_model("""
    net (float[N,3,8,8] image) => (float[N,216] scores) {
        c = Conv(image, w)
        n = BatchNormalization(c, gamma, beta, mean, var)
        d = Conv(image, w)
        s = Add(n, d)
        scores = Flatten(s)
    }""")
    batch = images(model, 2)

    prepared = prepare(model).model

    assert operators(prepared) == {"Conv": 2, "Add": 1, "Flatten": 1}
    assert_close(run_reference(prepared, batch), run_reference(model, batch))


def test_a_convolution_that_others_read_keeps_its_batchnorm(make_model, images, run_reference):
    model = make_model("""
    net (float[N,3,8,8] image) => (float[N,216] scores) {
        c = Conv(image, w)
        n = BatchNormalization(c, gamma, beta, mean, var)
        s = Add(n, c)
        scores = Flatten(s)
    }""")
    batch = images(model, 2)

    prepared = prepare(model).model

    assert operators(prepared)["BatchNormalization"] == 1
    assert_close(run_reference(prepared, batch), run_reference(model, batch))


@pytest.mark.parametrize(
    "body",
    [
        "n, m, v = BatchNormalization<training_mode=1>(c, gamma, beta, mean, var)",
        "ratio = Constant<value_float=0.5>()\n on = Constant<value = bool {1}>()\n n = Dropout(c, ratio, on)",
    ],
)
def test_a_graph_in_training_mode_is_refused(body, make_model):
    model = make_model(f"""
    net (float[N,3,8,8] image) => (float[N,216] scores) {{
        c = Conv(image, w)
        {body}
        scores = Flatten(n)
    }}""")

    with pytest.raises(UnsupportedError, match=r"training mode.*eval\(\)"):
        prepare(model)


def test_folding_does_not_blow_a_constant_up(make_model):
    model = make_model(
        """
    net (float[N,1024,1024] image) => (float[N,1024,1024] scores)
    <int64[2] size = {1024, 1024}, float one = {1.0}> {
        big = Expand(one, size)
        scores = Add(image, big)
    }""",
        {},
    )

    prepared = prepare(model).model

    assert operators(prepared) == {"Expand": 1, "Add": 1}


def test_an_old_opset_is_converted(make_net, images, run_ort, run_reference):
    model = make_net("softmax")
    model.opset_import[0].version = 11
    model.graph.node[-1].attribute.append(helper.make_attribute("axis", 1))
    for tensor in model.graph.initializer:  # opset-11 exporters list weights as inputs with a default
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    batch = images(model, 2)

    prepared = prepare(model).model

    assert prepared.opset_import[0].version == 13
    assert [entry.name for entry in prepared.graph.input] == ["image"]
    assert_close(run_ort(prepared, batch), run_reference(model, batch))


def test_local_functions_are_inlined(images, run_reference):
    text = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
    net (float[N,3,2,2] image) => (float[N,12] scores) {
        d = own.twice(image)
        scores = Flatten(d)
    }
    <domain: "own", opset_import: ["" : 17]>
    twice (x) => (y) { y = Add(x, x) }"""
    model = onnx.parser.parse_model(text)
    batch = images(model, 2)

    prepared = prepare(model).model

    assert not prepared.functions
    np.testing.assert_array_equal(run_reference(prepared, batch), 2 * batch.reshape(2, -1))


def test_identities_go_and_the_outputs_keep_their_names(make_model, images, run_reference):
    model = make_model("""
    net (float[N,3,8,8] image) => (float[N,5] logits) {
        i = Identity(image)
        c = Conv(i, w)
        j = Identity(c)
        g = GlobalAveragePool(j)
        f = Flatten(g)
        l = Gemm<transB=1>(f, fw, fb)
        logits = Identity(l)
    }""")
    batch = images(model, 2)

    prepared = prepare(model).model

    assert operators(prepared)["Identity"] == 0
    assert prepared.graph.output[0].name == "logits"
    assert_close(run_reference(prepared, batch), run_reference(model, batch))


def test_every_node_gets_a_name_of_its_own(make_model):
    prepared = prepare(
        make_model("""
    net (float[N,3,8,8] image) => (float[N,192] scores) {
        a = Relu(image)
        b = Neg(a)
        scores = Flatten(b)
    }""")
    ).model

    names = [node.name for node in prepared.graph.node]
    assert len(set(names)) == len(names)
    assert "" not in names


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["resnet20_cifar10_float", "mobilenet_v1_025_float", "mobilenet_v2_float"])
def test_real_models_keep_their_scores(
    name: str, realdata: Path, images: Callable[..., np.ndarray], run_ort: Callable[..., np.ndarray]
):
    model = read_model(realdata / "models" / f"{name}.onnx")
    batch = images(model, 3)

    prepared = prepare(model).model

    assert_close(run_ort(prepared, batch), run_ort(model, batch))
    assert len(prepared.graph.node) <= len(model.graph.node)


@pytest.mark.realdata
def test_the_pad_shortcut_of_resnet20_folds(realdata):
    model = read_model(realdata / "models/resnet20_cifar10_float.onnx")

    prepared = prepare(model).model

    kinds = {"Conv": 19, "Relu": 19, "Add": 9, "Slice": 4, "Pad": 2, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}
    assert operators(prepared) == kinds
    assert prepared.ByteSize() < 1.05 * model.ByteSize()


@pytest.mark.realdata
@pytest.mark.parametrize("batch_axis", [1, 2])
def test_a_real_model_with_fixed_batch_becomes_dynamic(batch_axis, realdata, images, run_ort):
    model = read_model(realdata / "models/resnet20_cifar10_float.onnx")
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for entry in (*fixed.graph.input, *fixed.graph.output):
        entry.type.tensor_type.shape.dim[0].dim_value = batch_axis
    batch = images(model, 3)

    prepared = prepare(fixed)

    assert prepared.notes == ()
    assert_close(run_ort(prepared.model, batch), run_ort(model, batch))


def test_constants_of_all_kinds_become_initializers(make_model):
    model = make_model(
        """
    net (float[N,4] image) => (float[N,4] scores) {
        a = Constant<value_floats=[1.0, 2.0, 3.0, 4.0]>()
        b = Constant<value_float=2.0>()
        c = Constant<value = float[4] {1.0, 1.0, 1.0, 1.0}>()
        d = Mul(a, b)
        e = Add(d, c)
        scores = Add(image, e)
    }""",
        {},
    )

    prepared = prepare(model).model

    (folded,) = prepared.graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(folded), [3, 5, 7, 9])


def test_casts_to_the_type_of_another_tensor_fold_and_vanish(make_model, images, run_reference):
    model = make_model("""
    net (float[N,3,8,8] image) => (float[N,5] logits) {
        c = Conv(image, w)
        six = Constant<value_int = 6>()
        top = CastLike(six, c)
        low = Constant<value_float = 0.0>()
        r = Clip(c, low, top)
        same = CastLike(r, image)
        g = GlobalAveragePool(same)
        f = Flatten(g)
        logits = Gemm<transB=1>(f, fw, fb)
    }""")
    model.opset_import[0].version = 17
    batch = images(model, 2)

    prepared = prepare(model).model

    assert operators(prepared) == {"Conv": 1, "Clip": 1, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}
    assert_close(run_reference(prepared, batch), run_reference(model, batch))


def test_a_reshape_for_which_zero_means_zero_takes_any_batch_too(make_model, images, run_ort, run_reference):
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
