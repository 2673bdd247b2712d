from __future__ import annotations

import numpy as np
import pytest

from robustmq_trt.core.errors import UnsupportedError
from robustmq_trt.export.prepare import prepare

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
def test_batchnorm_folds_exactly_into(
    layer, shapes, make_model, images, run_ort, run_reference, operators, assert_close
):
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


def test_a_weight_two_layers_share_is_copied_not_changed(make_model, images, run_reference, operators, assert_close):
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


def test_a_convolution_that_others_read_keeps_its_batchnorm(make_model, images, run_reference, operators, assert_close):
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
