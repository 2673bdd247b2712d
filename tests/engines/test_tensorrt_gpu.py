"""The walk on a real GPU: build the TensorRT profile's file, open the plan, hold it against ONNX Runtime."""

from pathlib import Path

import numpy as np
import pytest

from robustmq_trt.cli.main import main
from robustmq_trt.core.errors import UnsupportedError
from robustmq_trt.core.files import sha256_file
from robustmq_trt.engines.behaviour import compare
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.engines.cuda_driver import find_gpu
from robustmq_trt.engines.selftest import self_test
from robustmq_trt.engines.tensorrt_module import load


def _missing() -> str:
    try:
        find_gpu()
        load()
    except UnsupportedError as error:
        return str(error)
    return ""


WHY = _missing()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(WHY), reason=f"needs TensorRT on an NVIDIA GPU: {WHY}")]


@pytest.fixture(scope="module")
def canonical(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    assert main(["build", "--profile", "trt-s8", "-o", str(folder), "--quiet"]) == 0
    return next(folder.glob("*.trt-s8.onnx"))


@pytest.fixture(scope="module")
def plan(canonical: Path) -> Path:
    path = canonical.with_name("model.plan")
    assert main(["plan", str(canonical), "-o", str(path), "--quiet"]) == 0
    return path


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-graph"])
def test_a_plan_answers_like_the_simulation_of_its_file(canonical: Path, plan: Path, backend: str):
    engine = open_engine(f"{backend}:{plan}", trust=[f"sha256:{sha256_file(plan)}"])
    simulation = open_engine(f"simulation:{canonical}")
    images = np.random.default_rng(0).normal(size=(256, *engine.spec.image_shape)).astype(np.float32)

    found = compare(engine.infer(images), simulation.infer(images))

    engine.close()
    simulation.close()
    assert found.flips <= 0.05 * found.images  # what rounding alone moves is near 1.5 %
    assert found.mean_delta < 0.1 * found.spread


def test_a_plan_of_the_profile_runs_in_integers_and_repeats_itself(plan: Path):
    engine = open_engine(plan, trust=[f"sha256:{sha256_file(plan)}"])
    images = np.random.default_rng(0).normal(size=(32, *engine.spec.image_shape)).astype(np.float32)

    coverage, tested = engine.audit().integer_coverage, self_test(engine, images)

    engine.close()
    assert coverage > 0.95
    assert tested.repeatable
