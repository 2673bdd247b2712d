"""The study of calibration sets on a tiny net: what is compared with what, and that a bad set is found out."""

import json
from contextlib import contextmanager
from dataclasses import replace
from itertools import count

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from robustmq_trt.core.errors import EngineError, InputError
from robustmq_trt.evaluate import calibration_study as study_module
from robustmq_trt.evaluate.calibration_records import METRICS, Outcome, study_records
from robustmq_trt.evaluate.calibration_sets import CalibrationSet
from robustmq_trt.evaluate.calibration_study import Exam, StudyPlan, calibration_study, range_ratio
from robustmq_trt.evaluate.finished_cells import FinishedCells
from robustmq_trt.evaluate.model_target import model_target
from robustmq_trt.evaluate.questions import Questions, logits
from robustmq_trt.evaluate.target import scores
from robustmq_trt.inputs.dataset import Dataset, Sample

PLAN = StudyPlan(methods=("minmax", "percentile:99"), threads=1)


@pytest.fixture(scope="module")
def mild_net(tiny_net):
    """The tiny net without its sensitive layer."""
    net = onnx.ModelProto()
    net.CopyFrom(tiny_net)
    for tensor in net.graph.initializer:
        if tensor.name == "wb":
            weights = numpy_helper.to_array(tensor).copy()
            weights[:, 0] = 0
            tensor.CopyFrom(numpy_helper.from_array(weights, "wb"))
    return net


@pytest.fixture(scope="module")
def exam(mild_net, tiny_pipeline, colours) -> Exam:
    images = colours[100:]
    blank = Questions(
        versions={"clean": images}, labels=np.zeros(len(images), np.int64), pipeline=tiny_pipeline, threads=1
    )
    return Exam(
        images=images,
        adversarials=255 - images,
        labels=logits(mild_net, blank, images).argmax(axis=1),
        attack="negative",
    )


@pytest.fixture(scope="module")
def sets(tiny_pipeline, colours) -> list[CalibrationSet]:
    samples = tuple(Sample(name=str(i), label=0, source=image) for i, image in enumerate(colours[:40]))
    base = CalibrationSet(name="base", dataset=Dataset(samples=samples), pipeline=tiny_pipeline)
    return [
        base,
        replace(base, name="again"),
        replace(base, name="grey", alter=lambda loaded: 112 + loaded.images // 8),
        replace(base, name="gone", missing="nobody has it"),
    ]


@pytest.fixture(scope="module")
def records(mild_net, sets, exam):
    return {(r.engine, r.metric): r for r in calibration_study(mild_net, sets, exam, PLAN)}


def test_every_set_and_method_has_every_metric(records):
    engines = {f"{name}/{method}" for name in ("base", "again", "grey") for method in PLAN.methods}

    assert {key for key in records if key[0] != "gone"} == {
        (engine, metric) for engine in {*engines, "float"} for metric in METRICS
    }


def test_the_float_model_agrees_with_itself(records):
    assert records["float", "agreement"].value == 1
    assert records["float", "logit_error"].value == 0
    assert records["float", "accuracy"].comparison is None


def test_equal_sets_make_equal_engines(records):
    for metric in METRICS:
        comparison = records["again/minmax", metric].comparison
        assert (comparison.reference, comparison.difference) == ("base/minmax", 0)
        assert comparison.verdict == "not distinguishable"
    assert records["again/minmax", "accuracy"].identity["range_ratio"] == 1


def test_calibrating_with_grey_images_is_found_out(records):
    record = records["grey/minmax", "logit_error"]

    assert record.comparison.verdict == "worse"
    assert record.comparison.difference > 0.1
    assert record.identity["range_ratio"] < 0.5
    assert records["grey/minmax", "agreement"].value < records["base/minmax", "agreement"].value


def test_robust_accuracy_counts_images_right_before_and_under_the_attack(records):
    assert records["base/minmax", "robust_accuracy"].condition == "negative"
    assert records["base/minmax", "robust_accuracy"].value <= records["base/minmax", "accuracy"].value


def test_a_set_that_cannot_be_had_leaves_a_record_with_the_reason(records):
    record = records["gone", "accuracy"]

    assert (record.n, record.flags) == (0, ("missing: nobody has it",))


@pytest.fixture
def breaking(monkeypatch, dying):
    """Let the n-th engine of a study, float being the first, fail at its first call."""

    def break_off(place):
        made = count()

        @contextmanager
        def opened(*arguments, **settings):
            with model_target(*arguments, **settings) as target:
                yield dying(target, 0) if next(made) == place else target

        monkeypatch.setattr(study_module, "model_target", opened)

    return break_off


def study(net, sets, exam):
    return {(r.engine, r.metric): r for r in calibration_study(net, sets, exam, PLAN)}


def test_an_engine_that_breaks_is_a_row_beside_the_others_numbers(records, mild_net, sets, exam, breaking):
    breaking(3)

    found = study(mild_net, sets, exam)

    row = found.pop(("again/minmax", "accuracy"))
    assert (row.n, row.flags) == (0, ("failed: RuntimeError: out of order",))
    assert row.identity["set"] == "again"
    assert set(records) - set(found) == {("again/minmax", metric) for metric in METRICS}
    assert all(found[key].value == records[key].value for key in found if key[0] != "gone")


def test_without_the_baselines_engine_its_method_is_compared_with_nothing(records, mild_net, sets, exam, breaking):
    breaking(1)

    found = study(mild_net, sets, exam)

    assert found["base/minmax", "accuracy"].flags == ("failed: RuntimeError: out of order",)
    assert found["grey/minmax", "accuracy"].comparison is None
    assert found["grey/minmax", "accuracy"].identity == records["grey/minmax", "accuracy"].identity
    assert found["grey/percentile:99", "accuracy"].comparison.reference == "base/percentile:99"


def test_a_set_that_cannot_be_calibrated_with_is_a_row_beside_the_others_numbers(records, mild_net, sets, exam):
    def broken(loaded):
        raise EngineError("The backward graph failed on 8 images: out of memory")

    found = study(mild_net, [*sets[:2], replace(sets[2], alter=broken), sets[3]], exam)

    assert found["grey", "accuracy"].flags == ("failed: The backward graph failed on 8 images: out of memory",)
    assert {key for key in records if key not in found} == {
        (f"grey/{method}", metric) for method in PLAN.methods for metric in METRICS
    }


def test_images_without_finite_scores_count_as_wrong_and_have_no_error(records, mild_net, sets, exam, monkeypatch):
    made = count()

    def spoiled(target, images):
        found = scores(target, images)
        if next(made) == 6:  # the clean images on `again/minmax`: two calls for float and for each engine before
            found[:3] = np.nan
        return found

    monkeypatch.setattr(study_module, "scores", spoiled)

    found = study(mild_net, sets, exam)

    flag, total = f"3 of {len(exam.labels)} images without finite scores", len(exam.labels)
    hurt = {metric: found["again/minmax", metric] for metric in METRICS}
    assert all(record.flags == (flag,) for record in hurt.values())
    assert hurt["agreement"].value == (records["again/minmax", "agreement"].value * total - 3) / total
    assert (hurt["logit_error"].n, hurt["accuracy"].n) == (total - 3, total)
    assert hurt["logit_error"].comparison.difference == 0
    assert not any(record.flags for (engine, _), record in found.items() if engine not in ("again/minmax", "gone"))


def test_an_engine_without_any_finite_score_has_no_error(mild_net, sets, exam, monkeypatch):
    made = count()
    monkeypatch.setattr(study_module, "scores", lambda *asked: scores(*asked) * (np.nan if 6 <= next(made) < 8 else 1))

    error = study(mild_net, sets, exam)["again/minmax", "logit_error"]

    assert (error.n, error.comparison) == (0, None)
    json.dumps(error.to_json(), allow_nan=False)


def test_a_study_without_its_baseline_is_refused(mild_net, sets, exam):
    with pytest.raises(InputError, match="baseline"):
        calibration_study(mild_net, sets[3:], exam, PLAN)


def test_range_ratio_is_the_median_of_the_widths_with_zero():
    assert range_ratio({"a": (0, 2), "b": (1, 3), "c": (0, 5)}, {"a": (0, 1), "b": (0, 1), "c": (0, 0)}) == 2.5


def outcome(error: np.ndarray, method: str = "mse") -> Outcome:
    right = np.ones(error.size, dtype=np.bool_)
    return Outcome(clean=right, held=right, same=right, error=error, identity={"method": method})


def test_errors_are_judged_by_their_mean_and_less_is_better(rng):
    base = rng.uniform(0, 0.1, 400)
    tail = np.where(np.arange(400) < 60, base + 0.5, base - 0.001)  # most images gain a little, some lose much
    outcomes = {"base/mse": outcome(base), "tail/mse": outcome(tail), "less/mse": outcome(base / 2)}

    records = study_records(outcomes, baseline="base", attack="none", seed=0)

    verdicts = {r.engine: r.comparison.verdict for r in records if r.metric == "logit_error" and r.comparison}
    assert verdicts == {"tail/mse": "worse", "less/mse": "better"}


def test_finished_sets_are_not_calibrated_with_and_give_the_same_records(
    records, mild_net, sets, exam, tmp_path, monkeypatch
):
    calibration_study(mild_net, sets[:2], exam, PLAN, finished=FinishedCells(tmp_path))
    used, tables = [], study_module._tables
    monkeypatch.setattr(study_module, "_tables", lambda *given: used.append(given[1].name) or tables(*given))
    cells = FinishedCells(tmp_path)

    found = calibration_study(mild_net, sets, exam, PLAN, finished=cells)

    assert used == ["grey"]
    assert (cells.found, cells.kept) == (4, 2)
    assert [r.to_json() for r in found] == [r.to_json() for r in records.values()]


def test_answers_without_finite_scores_are_kept_as_such():
    right = np.array([True, False])
    outcome = Outcome(
        clean=right, held=~right, same=right, error=np.array([0.1, np.nan]), identity={"set": "a"}, flags=("1 of 2",)
    )

    found = Outcome.from_json(json.loads(json.dumps(outcome.to_json(), allow_nan=False)), outcome.identity)

    for name in ("clean", "held", "same", "error"):
        np.testing.assert_array_equal(getattr(found, name), getattr(outcome, name))
    assert (found.flags, found.identity) == (outcome.flags, outcome.identity)
