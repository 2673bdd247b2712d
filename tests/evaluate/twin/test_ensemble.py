from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from robustmq_trt.core.errors import InputError, UnsupportedError
from robustmq_trt.evaluate.twin.ensemble import fused
from robustmq_trt.evaluate.twin.twin import Twin
from robustmq_trt.inputs.catalog import PRESETS
from robustmq_trt.inputs.pipeline import Pipeline

SMALL = PRESETS["cifar10"].for_size(9, 9)


def net(seed: int, *, opset: int = 17, classes: int = 4, softmax: bool = False) -> onnx.ModelProto:
    tail = "z = Gemm<transB=1>(f, v) y = Softmax(z)" if softmax else "y = Gemm<transB=1>(f, v)"
    model = parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : {opset}]> net (float[N,3,9,9] x) => (float[N,{classes}] y)
        <float[6,3,3,3] w, float[{classes},6] v>
        {{ c = Conv(x, w) r = Relu(c) g = GlobalAveragePool(r) f = Flatten(g) {tail} }}"""
    )
    del model.graph.value_info[:]
    rng = np.random.default_rng(seed)
    for name, shape in (("w", (6, 3, 3, 3)), ("v", (classes, 6))):
        model.graph.initializer.append(numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    return model


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (7, 9, 9, 3), dtype=np.uint8)


def loss_of(logits: Callable[[np.ndarray], np.ndarray], labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    def loss(images: np.ndarray) -> np.ndarray:
        scores = logits(images).astype(np.float64)
        return np.log(np.exp(scores - scores[range(len(labels)), labels][:, None]).sum(axis=1))

    return loss


def test_the_ensembles_logits_are_the_mean_and_its_gradient_that_of_their_loss(images: np.ndarray) -> None:
    half: Pipeline = replace(SMALL, name="half", mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.5))
    members = [(net(1), SMALL), (net(2, opset=13), half), (net(3, softmax=True), SMALL)]
    singles = [
        Twin.open(model, pipeline, threads=1)
        for model, pipeline in [members[0], members[1], (net(3), SMALL)]  # a Softmax does not count
    ]

    twin = Twin.open(fused(members), SMALL, threads=1)

    mean = np.mean([single.scores(images) for single in singles], axis=0)
    np.testing.assert_allclose(twin.scores(images), mean, rtol=1e-4, atol=1e-5)
    labels = np.arange(7) % 4
    gradient = twin.gradient(images, labels).astype(np.float64)
    step = 3e3 * gradient / np.abs(gradient).max()
    loss = loss_of(
        lambda floats: np.mean([s.gradient_input(s._tensor(floats), labels).scores for s in singles], axis=0), labels
    )
    small = 1e-3 * step
    rise = loss(images + small) - loss(images - small)
    np.testing.assert_allclose(rise, 2 * (gradient * small).sum(axis=(1, 2, 3)), rtol=0.05, atol=1e-4)


def test_members_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="two or more"):
        fused([(net(1), SMALL)])
    with pytest.raises(UnsupportedError, match="same shapes"):
        fused([(net(1), SMALL), (net(2, classes=5), SMALL)])
    with pytest.raises(UnsupportedError, match="same shapes"):
        fused([(net(1), SMALL), (net(2), replace(SMALL, colour="bgr"))])
