from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from robustmq_trt.core.errors import InputError
from robustmq_trt.export.onnx_file import read_model
from robustmq_trt.export.prepare import prepare


@pytest.mark.parametrize("name", ["conv_bn", "softmax", "nhwc", "shape_chain"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_prepare_leaves_the_scores_unchanged(name, seed, make_net, images, run_ort, run_reference, assert_close):
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


def test_batchnorm_and_dropout_are_gone_and_dead_weights_with_them(make_net, operators):
    prepared = prepare(make_net("conv_bn")).model

    assert operators(prepared) == {"Conv": 1, "Relu": 1, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}
    assert len(prepared.graph.initializer) == 4


def test_folding_does_not_blow_a_constant_up(make_model, operators):
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


def test_an_old_opset_is_converted(make_net, images, run_ort, run_reference, assert_close):
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


def test_identities_go_and_the_outputs_keep_their_names(make_model, images, run_reference, operators, assert_close):
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
    name: str, realdata: Path, images: Callable[..., np.ndarray], run_ort: Callable[..., np.ndarray], assert_close
):
    model = read_model(realdata / "models" / f"{name}.onnx")
    batch = images(model, 3)

    prepared = prepare(model).model

    assert_close(run_ort(prepared, batch), run_ort(model, batch))
    assert len(prepared.graph.node) <= len(model.graph.node)


@pytest.mark.realdata
def test_the_pad_shortcut_of_resnet20_folds(realdata, operators):
    model = read_model(realdata / "models/resnet20_cifar10_float.onnx")

    prepared = prepare(model).model

    kinds = {"Conv": 19, "Relu": 19, "Add": 9, "Slice": 4, "Pad": 2, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}
    assert operators(prepared) == kinds
    assert prepared.ByteSize() < 1.05 * model.ByteSize()


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


def test_casts_to_the_type_of_another_tensor_fold_and_vanish(
    make_model, images, run_reference, operators, assert_close
):
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


def test_a_model_that_computes_on_integers_is_refused_by_the_name_of_its_operator(make_model):
    text = "g (uint8[N,192] x) => (int32[N,5] y) <uint8 z = {0}> { y = MatMulInteger (x, w, z, z) }"
    model = make_model(text, {"w": np.ones((192, 5), np.uint8)})

    with pytest.raises(InputError, match=r"already \(MatMulInteger .*--surrogate"):
        prepare(model)
