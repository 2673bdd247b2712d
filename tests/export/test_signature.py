from __future__ import annotations

import pytest

from robustmq_trt.core.errors import InputError, UnsupportedError
from robustmq_trt.export.onnx_file import read_model
from robustmq_trt.export.prepare import prepare
from robustmq_trt.export.signature import Signature, classifier_signature


@pytest.mark.parametrize(
    ("name", "layout", "output", "kind", "batch"),
    [
        ("conv_bn", "nchw", "logits", "logits", None),
        ("softmax", "nchw", "probabilities", "probabilities", None),
        ("nhwc", "nhwc", "logits", "logits", None),
        ("fixed_reshape", "nchw", "logits", "logits", 1),
    ],
)
def test_the_signature_of_a_classifier(name, layout, output, kind, batch, make_net):
    assert classifier_signature(make_net(name)) == Signature(
        input_name="image",
        output_name=output,
        height=8,
        width=8,
        channels=3,
        layout=layout,
        classes=5,
        fixed_batch=batch,
        output_kind=kind,
    )


def test_preparing_frees_the_batch(make_net):
    assert classifier_signature(prepare(make_net("fixed_reshape")).model).fixed_batch is None


def test_a_softmax_behind_which_only_the_shape_changes_still_gives_probabilities(make_model):
    model = make_model("""
    net (float[N,3,8,8] image) => (float[N,M] scores) {
        g = GlobalAveragePool(image)
        p = Softmax<axis=1>(g)
        scores = Flatten(p)
    }""")

    assert classifier_signature(model).output_kind == "probabilities"


HEAD = "g = GlobalAveragePool(image)\n f = Flatten(g)\n"
REFUSED = {
    "a detector": (
        "(float[N,3,8,8] image) => (float[N,M] a, float[N,M] b, float[N,M] c)",
        HEAD + "a = Neg(f)\n b = Abs(f)\n c = Relu(f)",
        r"one output .*got 3: 'a' float32 \(N, M\)|one output .*got 3",
    ),
    "a language model": (
        "(int64[N,T] tokens) => (float[N,T] scores)",
        "scores = Cast<to=1>(tokens)",
        r"float32 image input, got 'tokens' int64 \(N, T\)",
    ),
    "two inputs": (
        "(float[N,3,8,8] image, float[N,3] other) => (float[N,3] scores)",
        HEAD + "scores = Add(f, other)",
        "one image input, got 2",
    ),
    "a uint8 input": (
        "(uint8[N,3,8,8] pixels) => (float[N,3] scores)",
        "image = Cast<to=1>(pixels)\n" + HEAD + "scores = Neg(f)",
        "uint8 input are not supported here yet",
    ),
    "a rank of 3": (
        "(float[3,8,8] image) => (float[3,64] scores)",
        "scores = Flatten(image)",
        r"got 'image' float32 \(3, 8, 8\)",
    ),
    "grey images": (
        "(float[N,1,8,8] image) => (float[N,1] scores)",
        HEAD + "scores = Neg(f)",
        "no axis of 3 colour channels",
    ),
    "scores of rank 4": (
        "(float[N,3,8,8] image) => (float[N,3,1,1] scores)",
        "scores = GlobalAveragePool(image)",
        "Add a Flatten behind it",
    ),
    "a segmentation": ("(float[N,3,8,8] image) => (float[N,3,8,8] scores)", "scores = Neg(image)", "scores of shape"),
    "one score": (
        "(float[N,3,8,8] image) => (float[N,1] scores)",
        HEAD + "scores = ReduceMax<axes=[1]>(f)",
        "at least 2",
    ),
    "a label": (
        "(float[N,3,8,8] image) => (int64[N,1] label)",
        HEAD + "label = ArgMax<axis=1>(f)",
        "without its ArgMax",
    ),
    "independent labels": (
        "(float[N,3,8,8] image) => (float[N,3] scores)",
        HEAD + "scores = Sigmoid(f)",
        "single-label",
    ),
}


@pytest.mark.parametrize(("interface", "body", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_classifier_is_refused(interface, body, message, make_model):
    with pytest.raises(UnsupportedError, match=message):
        classifier_signature(make_model(f"net {interface} {{\n{body}\n}}", {}))


def test_an_open_image_size_is_named(make_model):
    model = make_model(f"net (float[N,3,H,W] image) => (float[N,3] scores) {{ {HEAD} scores = Neg(f) }}", {})

    with pytest.raises(InputError, match=r"no fixed image size: \(N, 3, H, W\).*fixed height and width"):
        classifier_signature(model)


@pytest.mark.realdata
def test_the_signatures_of_real_models(realdata):
    signature = classifier_signature(read_model(realdata / "models/mobilenet_v2_float.onnx"))

    assert (signature.height, signature.width, signature.classes) == (224, 224, 1000)
