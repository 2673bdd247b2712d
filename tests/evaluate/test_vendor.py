from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.core.manifest import RANGES, Manifest
from robustmq_trt.engines.audit import Audit
from robustmq_trt.engines.protocol import EngineSpec
from robustmq_trt.evaluate.vendor import fit
from robustmq_trt.inputs.catalog import find_preset

PIXELS = np.random.default_rng(1).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)


class Echo:
    """Keeps what it was given and scores nothing."""

    def __init__(self, dtype: Any = "float32", grid: tuple[float, int] | None = None) -> None:
        self.seen: Any = None
        self.spec = EngineSpec(
            input_name="x",
            height=4,
            width=4,
            channels=3,
            layout="nhwc",
            dtype=dtype,
            fixed_batch=None,
            classes=5,
            output_kind="logits",
            input_grid=grid,
        )

    def infer(self, batch: Any) -> Any:
        self.seen = batch
        return np.zeros((len(batch), 5), np.float32)

    def audit(self) -> Audit:
        return Audit(backend="echo", layers=[])

    def provenance(self) -> Mapping[str, Any]:
        return {}

    def close(self) -> None:
        pass


def _seen(engine: Echo, manifest: Manifest | None, preset: str = "torchvision") -> np.ndarray:
    fitted = fit(engine, find_preset(preset), manifest)
    fitted.engine.infer(fitted.pipeline.tensor(PIXELS))
    return engine.seen


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize("name", RANGES)
def test_every_range_and_colour_arrives_as_computed_by_hand(name: str, colour: str):
    mean, std = (np.array(triple) for triple in RANGES[name])
    expected = (PIXELS / 255 - mean) / std

    seen = _seen(Echo(), Manifest(range=name, colour=colour))

    assert np.abs(seen - (expected[..., ::-1] if colour == "bgr" else expected)).max() < 1e-4


def test_without_a_range_the_presets_normalisation_follows_the_colour():
    mean, std = RANGES["imagenet"]
    expected = ((PIXELS / 255 - mean) / std)[..., ::-1]

    assert np.abs(_seen(Echo(), Manifest(colour="bgr")) - expected).max() < 1e-5


@pytest.mark.parametrize("manifest", [None, Manifest(), Manifest(range="0..255"), Manifest(range="server")])
def test_an_8_bit_input_gets_the_pixels_as_they_are(manifest: Manifest | None):
    assert np.array_equal(_seen(Echo("uint8", (0.02, 114)), manifest), PIXELS)


def test_an_8_bit_input_gets_normalised_values_on_its_grid_where_the_manifest_says_so():
    mean, std = (np.array(triple) for triple in RANGES["imagenet"])
    expected = np.clip(np.rint((PIXELS / 255 - mean) / std / 0.02) + 114, 0, 255)

    seen = _seen(Echo("uint8", (0.02, 114)), Manifest(range="imagenet"))

    assert seen.dtype == np.uint8
    assert np.abs(seen - expected).max() <= 1  # float32 and float64 round differently at the edge between two levels
    assert (seen == expected).mean() > 0.95


def test_a_layout_that_the_engine_does_not_take_is_refused():
    with pytest.raises(InputError, match="says nchw, but 'x' takes nhwc"):
        fit(Echo(), find_preset("torchvision"), Manifest(layout="nchw"))
