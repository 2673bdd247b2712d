"""What every backend of the catalog owes its callers; a newcomer needs one example file below."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.engines.audit import Audit
from robustmq_trt.engines.catalog import BACKENDS, open_engine
from robustmq_trt.engines.protocol import Engine
from robustmq_trt.engines.selftest import self_test

EXAMPLES = {
    ".onnx": "qdq_model",
    ".xml": "ir_model",
    ".tflite": "tflite_model",
    "http://": "served_model",
    "v2+grpc://": "grpc_served_model",
}


# https is http behind the certificate, which tests/engines/test_remote_tls.py looks at; v2+grpcs likewise.
CASES = [
    (backend, suffix, EXAMPLES[suffix])
    for backend in BACKENDS
    for suffix in backend.suffixes + backend.named_suffixes
    if suffix not in ("https://", "v2+grpcs://")
    and not backend.native_code  # a plan needs a GPU: tests/engines/test_tensorrt.py
]
CASES += [
    (backend, " float16", "half_model") for backend in BACKENDS if ".onnx" in backend.suffixes + backend.named_suffixes
]


@pytest.fixture(params=CASES, ids=lambda case: "".join((case[0].name, case[1])))
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    backend, _, example = request.param
    opened = open_engine(f"{backend.name}:{request.getfixturevalue(example)}", threads=1)
    yield opened
    opened.close()


def _batch(engine: Engine, count: int) -> np.ndarray:
    pixels = np.random.default_rng(1).integers(0, 256, (count, *engine.spec.image_shape))
    return (pixels if engine.spec.dtype == "uint8" else pixels / 127.5 - 1).astype(engine.spec.dtype)


def test_engine_fulfils_the_protocol(engine: Engine):
    assert isinstance(engine, Engine)


def test_scores_are_contiguous_float32_rows(engine: Engine):
    scores = engine.infer(_batch(engine, 3))

    assert scores.shape == (3, engine.spec.classes)
    assert scores.dtype == np.float32
    assert scores.flags.c_contiguous


def test_scores_are_the_same_twice_and_at_every_batch_size(engine: Engine):
    result = self_test(engine, _batch(engine, 32))

    assert result.repeatable
    assert result.batch_invariant
    assert (result.max_delta, result.flips) == (0.0, 0)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda batch: batch[..., :-1],
        lambda batch: batch[0],
        lambda batch: batch[:0],
        lambda batch: batch.astype(np.float64),
        lambda batch: batch.astype(np.float32 if batch.dtype == np.float16 else np.float16),
    ],
    ids=["narrow", "unbatched", "empty", "float64", "another float"],
)
def test_wrong_batch_is_refused(engine: Engine, spoil: Callable[[np.ndarray], np.ndarray]):
    with pytest.raises(InputError, match="Expected a batch"):
        engine.infer(spoil(_batch(engine, 2)))


def test_close_can_be_called_twice_and_ends_inference(engine: Engine):
    engine.close()
    engine.close()

    with pytest.raises(InputError, match="closed"):
        engine.infer(_batch(engine, 1))


def test_provenance_and_audit_are_json(engine: Engine):
    audit = engine.audit()

    assert isinstance(audit, Audit)
    assert 0.0 <= audit.integer_coverage <= 1.0
    assert json.loads(json.dumps(engine.provenance(), allow_nan=False))["backend"]
    assert json.loads(json.dumps(audit.to_json(), allow_nan=False))["layers"]
    assert json.loads(json.dumps(engine.spec.to_json()))["classes"] == engine.spec.classes


@pytest.mark.parametrize("suffix", [suffix for suffix in EXAMPLES if suffix.startswith(".")])
def test_a_missing_file_is_the_users_mistake(suffix: str, tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        open_engine(tmp_path / f"absent{suffix}")
