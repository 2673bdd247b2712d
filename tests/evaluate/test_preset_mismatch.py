"""The matrix of calibration against serving on a tiny net: what is compared with what."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.evaluate import preset_mismatch as preset_mismatch_module
from robustmq_trt.evaluate.calibration_records import FLOAT
from robustmq_trt.evaluate.decoded_sets import Way
from robustmq_trt.evaluate.model_target import model_target
from robustmq_trt.evaluate.preset_mismatch import MismatchPlan, preset_mismatch
from robustmq_trt.inputs.dataset import Dataset, Sample
from robustmq_trt.inputs.pipeline import Pipeline

PLAN = MismatchPlan(threads=1)


@pytest.fixture(scope="module")
def sets(colours):
    """Large noisy pictures: nearest keeps the noise, area averages it away, so the two ranges differ."""
    rng = np.random.default_rng(5)
    large = [np.repeat(np.repeat(image, 8, axis=0), 8, axis=1) for image in colours[:60]]
    noisy = [np.clip(image + rng.normal(0, 60, image.shape), 0, 255).astype(np.uint8) for image in large]
    samples = [Sample(name=str(i), label=i % 4, source=image) for i, image in enumerate(noisy)]
    return Dataset(samples=tuple(samples[:20])), Dataset(samples=tuple(samples[20:]))


@pytest.fixture(scope="module")
def ways(tiny_pipeline):
    return [
        Way(name=name, pipeline=replace(tiny_pipeline, resize=f"opencv-{name}"))
        for name in ("area", "nearest", "linear")
    ]


@pytest.fixture(scope="module")
def records(tiny_net, sets, ways):
    return preset_mismatch(tiny_net, *sets, ways, PLAN)


def found(records, engine, condition, metric="accuracy"):
    (record,) = [r for r in records if (r.engine, r.condition, r.metric) == (engine, condition, metric)]
    return record


def test_there_is_an_engine_for_every_way_served_in_every_way(records, ways):
    cells = {(r.engine, r.condition) for r in records if r.metric == "accuracy"}

    names = [way.name for way in ways]
    assert cells == {(engine, name) for engine in (FLOAT, *(f"calibrated {n}" for n in names)) for name in names}
    assert {r.n for r in records} == {40}


def test_off_the_diagonal_the_reference_is_the_engine_calibrated_as_it_is_served(records):
    assert found(records, "calibrated area", "nearest").comparison.reference == "calibrated nearest"
    assert found(records, "calibrated area", "area").comparison.reference == FLOAT
    assert found(records, "calibrated area", "nearest", "serving_change").comparison.reference == "area"


def test_serving_change_is_the_difference_of_two_cells_of_a_row(records):
    change = found(records, "calibrated area", "nearest", "serving_change").value

    cells = [found(records, "calibrated area", way).value for way in ("nearest", "area")]
    assert change == pytest.approx(cells[0] - cells[1])


def test_noise_that_a_resize_keeps_widens_the_ranges(records):
    assert found(records, "calibrated nearest", "area").identity["range_ratio"] > 1
    assert found(records, "calibrated area", "nearest").identity["range_ratio"] < 1
    assert found(records, "calibrated area", "area").identity["range_ratio"] == 1


def test_a_preset_that_cannot_run_is_a_row_with_its_reason(tiny_net, sets, ways, monkeypatch):
    absent = property(lambda pipeline: "Install it." if pipeline.resize == "opencv-linear" else "")
    monkeypatch.setattr(Pipeline, "missing", absent)

    found_records = preset_mismatch(tiny_net, *sets, ways, PLAN)

    missing = found(found_records, "calibrated linear", "linear")
    assert (missing.n, missing.flags) == (0, ("missing: Install it.",))


def breaking(monkeypatch, dying, place):
    """Let the n-th engine of a matrix, float being the first, fail at its first call."""
    made = iter(range(4))

    @contextmanager
    def opened(*arguments, **settings):
        with model_target(*arguments, **settings) as target:
            yield dying(target, 0) if next(made) == place else target

    monkeypatch.setattr(preset_mismatch_module, "model_target", opened)


def test_an_engine_that_breaks_is_a_row_and_the_others_are_compared(records, tiny_net, sets, ways, monkeypatch, dying):
    breaking(monkeypatch, dying, 2)

    found_records = preset_mismatch(tiny_net, *sets, ways, PLAN)

    (row,) = [r for r in found_records if r.engine == "calibrated nearest"]
    assert (row.n, row.flags) == (0, ("failed: RuntimeError: out of order",))
    assert found(found_records, "calibrated area", "nearest").comparison is None
    for place in (("calibrated area", "area"), ("calibrated area", "linear"), ("calibrated linear", "area")):
        assert found(found_records, *place).value == found(records, *place).value
        assert found(found_records, *place).comparison.reference == found(records, *place).comparison.reference


def test_without_the_float_model_the_diagonal_is_compared_with_nothing(tiny_net, sets, ways, monkeypatch, dying):
    breaking(monkeypatch, dying, 0)

    found_records = preset_mismatch(tiny_net, *sets, ways, PLAN)

    assert found(found_records, FLOAT, "every way").flags == ("failed: RuntimeError: out of order",)
    assert found(found_records, "calibrated area", "area").comparison is None
    assert found(found_records, "calibrated area", "nearest").comparison.reference == "calibrated nearest"


def test_a_matrix_needs_two_presets(tiny_net, sets, ways):
    with pytest.raises(InputError, match="two presets"):
        preset_mismatch(tiny_net, *sets, ways[:1], PLAN)


def test_calibration_images_that_do_not_decode_are_refused(tiny_net, sets, ways, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no")
    bad = Dataset(samples=(Sample(name="bad.png", label=0, source=tmp_path / "bad.png"),))

    with pytest.raises(InputError, match="No calibration image"):
        preset_mismatch(tiny_net, bad, sets[1], ways, PLAN)
