"""A tiny classifier with known layers, a pipeline for it, and images whose mean colour decides the class."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from robustmq_trt.evaluate.served import Served
from robustmq_trt.evaluate.target import Target
from robustmq_trt.inputs.pipeline import Pipeline

NET = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,8,8] image) => (float[N,4] logits) {
    [first] a = Conv<pads=[1,1,1,1]>(image, wa)
    [relu_a] ra = Relu(a)
    [second] b = Conv<pads=[1,1,1,1]>(ra, wb)
    [relu_b] rb = Relu(b)
    [third] c = Conv<pads=[1,1,1,1]>(rb, wc)
    [relu_c] rc = Relu(c)
    [pool] g = GlobalAveragePool(rc)
    [flat] f = Flatten(g)
    [head] logits = Gemm<transB=1>(f, wd, bd)
}"""


@pytest.fixture(scope="session")
def tiny_net() -> onnx.ModelProto:
    """Layers `first`, `second`, `third`, `head`; 8 channels. Quantizing `second` alone destroys the answers.

    The first channel that `second` reads is always 0, and its weights are huge: on a grid wide enough for them the
    other weights round to 0.
    """
    rng = np.random.default_rng(0)
    draw = {name: rng.normal(size=(8, 3 if name == "wa" else 8, 3, 3)) / 8 for name in ("wa", "wb", "wc")}
    draw["wa"][0] = 0
    draw["wb"][:, 0] = 1000
    draw["wd"], draw["bd"] = 4 * rng.normal(size=(4, 8)), np.zeros(4)
    model: onnx.ModelProto = parser.parse_model(NET)
    model.graph.initializer.extend(
        numpy_helper.from_array(value.astype(np.float32), name) for name, value in draw.items()
    )
    return model


@pytest.fixture(scope="session")
def tiny_pipeline() -> Pipeline:
    return Pipeline(
        name="tiny",
        decoder="pillow",
        colour="rgb",
        resize="pillow-bilinear",
        geometry="squash",
        crop_fraction=1.0,
        size=(8, 8),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


@pytest.fixture(scope="session")
def colours() -> np.ndarray:
    """(200, 8, 8, 3) uint8: each image one colour with noise."""
    rng = np.random.default_rng(1)
    base = rng.integers(0, 256, (200, 1, 1, 3))
    return np.clip(base + rng.normal(0, 20, (200, 8, 8, 3)), 0, 255).astype(np.uint8)


class PixelEngine:
    """Tells by how bright the middle of an image is; counts the images it was shown."""

    def __init__(self, classes: int = 4, fail: bool = False) -> None:
        self.classes, self.fail, self.shown = classes, fail, 0

    def infer(self, batch):
        if self.fail:
            raise RuntimeError("out of order")
        self.shown += len(batch)
        middle = batch[:, :, batch.shape[2] // 2, batch.shape[3] // 2].mean(axis=1)
        return np.eye(self.classes, dtype=np.float32)[
            np.clip((middle + 1) / 2 * self.classes, 0, self.classes - 1).astype(int)
        ]


@pytest.fixture(scope="session")
def pixel_target() -> Callable[..., Target]:
    """Make a target whose engine reads one pixel."""

    def make(name: str, pipeline: Pipeline, **how: Any) -> Target:
        return Target(name=name, engine=PixelEngine(**how), pipeline=pipeline, identity={}, batch=8)

    return make


class DyingEngine:
    """Gives the answers of another engine a few times, then none any more."""

    def __init__(self, engine: Any, calls: int) -> None:
        self.spec, self._engine, self._calls = getattr(engine, "spec", None), engine, calls

    def infer(self, batch):
        self._calls -= 1
        if self._calls < 0:
            raise RuntimeError("out of order")
        return self._engine.infer(batch)


@pytest.fixture(scope="session")
def dying() -> Callable[[Target, int], Target]:
    """Make a target that answers some calls and raises at all later ones."""
    return lambda target, calls: replace(target, engine=DyingEngine(target.engine, calls))


@pytest.fixture(scope="session")
def made_up() -> Callable[..., Served]:
    """Make answers with label 1: 1 where right, 0 where wrong."""

    def make(
        right: Mapping[tuple[str, str], np.ndarray], pixels: Mapping[str, str] | None = None, **others: Any
    ) -> Served:
        n = len(next(iter(right.values())))
        return Served(
            labels=np.ones(n, np.int64),
            names=tuple(map(str, range(n))),
            answers={place: np.where(hits, 1, 0).astype(np.int64) for place, hits in right.items()},
            pixels=pixels or {way: way for _, way in right},
            failures=(),
            **{"missing": {}, "broken": {}, **others},
        )

    return make
