"""The key of a task: what was measured before is taken over only where it would come out the same."""

from dataclasses import replace

import pytest

from robustmq_trt import assets
from robustmq_trt.evaluate import plan as plan_module
from robustmq_trt.evaluate.conditions import Condition
from robustmq_trt.evaluate.plan import Plan, Run
from robustmq_trt.inputs.sources import open_dataset

SERVED = Condition(kind="preset", name="own")


@pytest.fixture
def run(tiny_pipeline, pixel_target) -> Run:
    photos = open_dataset(assets.images_dir("eval")).subset(6, 0)
    return Run(plan=Plan(conditions=[SERVED]), targets=[pixel_target("engine", tiny_pipeline)], dataset=photos)


def test_the_same_run_has_the_same_keys(run):
    assert run.keys() == replace(run).keys()
    assert len(set(run.keys())) == len(run.conditions) == 2


def test_another_version_of_this_package_measures_everything_anew(run, monkeypatch):
    keys = run.keys()

    monkeypatch.setattr(plan_module, "__version__", "99")

    assert not set(keys) & set(run.keys())


def test_a_condition_that_could_not_be_measured_is_measured_once_it_can(run):
    missing = replace(SERVED, unsupported="needs a package that is not installed")

    skipped = replace(run, plan=replace(run.plan, conditions=[missing])).keys()

    assert skipped[0] == run.keys()[0]  # the clean images
    assert skipped[1] != run.keys()[1]
