"""The wrapper against numpy by hand, over an engine that runs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.engines.adapted import AdaptedEngine, AdaptedPipelinedEngine
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.engines.child import Isolation
from robustmq_trt.engines.protocol import Engine, Pipelined, Watched


@pytest.fixture
def engine(qdq_model: Path) -> Engine:
    return open_engine(qdq_model, threads=1)


def _batch(engine: Engine, count: int) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 1, (count, *engine.spec.image_shape)).astype(np.float32)


@pytest.mark.parametrize("classes", [(1, 2, 3, 4), (2, 3), (4, 0, 2)])
def test_classes_come_in_the_manifests_order(engine: Engine, classes: tuple[int, ...]):
    batch = _batch(engine, 3)

    adapted = AdaptedEngine(engine, classes=classes)

    assert adapted.spec.classes == len(classes)
    assert np.array_equal(adapted.infer(batch), engine.infer(batch)[:, list(classes)])
    assert adapted.infer(batch).flags.c_contiguous


def test_it_is_an_engine_and_hands_on_what_the_inner_one_proves(engine: Engine):
    adapted = AdaptedEngine(engine, output_kind="probabilities")

    assert isinstance(adapted, Engine)
    assert isinstance(adapted, Watched)
    adapted.verify()
    assert adapted.spec.output_kind == "probabilities"
    assert adapted.audit().integer_coverage == engine.audit().integer_coverage
    assert adapted.provenance()["model_sha256"] == engine.provenance()["model_sha256"]
    adapted.close()
    with pytest.raises(InputError, match="closed"):
        engine.infer(_batch(engine, 1))


def test_an_engine_in_another_process_is_translated_on_its_queue_too(qdq_model: Path):
    engine = open_engine(qdq_model, threads=1, isolate=Isolation())
    batch = _batch(engine, 3)

    adapted = AdaptedPipelinedEngine(engine, classes=(4, 0, 2))
    adapted.submit(batch)
    scores, ns = adapted.collect()

    assert isinstance(adapted, Pipelined)
    assert not isinstance(AdaptedEngine(engine), Pipelined)
    assert np.array_equal(scores, engine.infer(batch)[:, [4, 0, 2]])
    assert ns > 0
    with pytest.raises(InputError, match="Expected a batch"):
        adapted.submit(batch.astype(np.float64))
    adapted.close()


def test_wrong_type_is_refused(engine: Engine):
    with pytest.raises(InputError, match="Expected a batch"):
        AdaptedEngine(engine).infer(_batch(engine, 1).astype(np.float64))


def test_normalised_images_reach_the_8_bit_input_on_its_own_grid(tflite: Callable[..., Path]):
    engine = open_engine(tflite("int8"), threads=1)
    pixels = np.random.default_rng(5).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)

    adapted = AdaptedEngine(engine, quantize=True)

    assert (adapted.spec.dtype, adapted.spec.input_grid) == ("float32", None)
    normalised = (pixels.astype(np.float32) - 128) / 128
    assert np.array_equal(adapted.infer(normalised), engine.infer(pixels))
    beyond = np.full((1, 8, 8, 3), 9, np.float32)
    assert np.array_equal(adapted.infer(beyond), engine.infer(np.full((1, 8, 8, 3), 255, np.uint8)))


def test_no_grid_and_a_finer_kind_than_256_levels_are_refused(engine: Engine, tflite_model: Path):
    with pytest.raises(InputError, match="states no scale"):
        AdaptedEngine(engine, quantize=True)
    with pytest.raises(InputError, match="scores are uint8-scores"):
        AdaptedEngine(open_engine(tflite_model, threads=1), output_kind="logits")
