"""Layers kept in float: the right one is found, the bound is shown, and what cannot be shown is refused."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from robustmq_trt.calib.calibrate import calibrate
from robustmq_trt.core.errors import InputError
from robustmq_trt.core.ranges import RangeTable
from robustmq_trt.evaluate.attacks.catalog import parse_attack
from robustmq_trt.evaluate.attacks.gradient import TransferTask
from robustmq_trt.evaluate.layer_effects import layer_macs, rank_layers
from robustmq_trt.evaluate.questions import Questions, logits, questions_under, right_answers
from robustmq_trt.evaluate.sensitivity import keep_float
from robustmq_trt.evaluate.twin.twin import Twin
from robustmq_trt.export.qdq import quantize


@pytest.fixture
def build(tiny_net, tiny_pipeline, colours):
    found = calibrate(tiny_net, lambda: [tiny_pipeline.tensor(colours[:64])], methods=["minmax"])["minmax"]
    table = RangeTable(method="minmax", images=64, model_sha256="", data_sha256="", preset="", ranges=found)
    return lambda kept: quantize(tiny_net, table, keep_float=kept)


@pytest.fixture
def questions(tiny_net, tiny_pipeline, colours) -> Questions:
    """The float model's own answers are the labels."""
    blank = Questions(
        versions={"clean": colours}, labels=np.zeros(len(colours), np.int64), pipeline=tiny_pipeline, threads=1
    )
    return replace(blank, labels=logits(tiny_net, blank, colours).argmax(axis=1))


def test_the_one_sensitive_layer_is_found(tiny_net, build, questions):
    found = keep_float(tiny_net, build, questions, max_drop=0.1)

    assert found.met
    assert found.nodes == ("second",)
    assert not found.steps[0].accepted  # nothing in float
    assert found.steps[0].value < 0.6
    assert right_answers(build(found.nodes), questions).mean() > 0.95


def test_its_effect_stands_out_among_all_layers(tiny_net, build, questions):
    first, *rest = rank_layers(tiny_net, build, questions, probe_images=16)

    assert first.node == "second"
    assert first.effect > 1000 * max(effect.effect for effect in rest)


def test_every_step_states_the_share_of_work_it_leaves_in_float(tiny_net, build, questions):
    found = keep_float(tiny_net, build, questions, max_drop=0.1)
    macs = layer_macs(tiny_net)

    assert macs == {"first": 8 * 3 * 9 * 64, "second": 8 * 8 * 9 * 64, "third": 8 * 8 * 9 * 64, "head": 32}
    for step in found.steps:
        assert step.float_share == pytest.approx(sum(macs[name] for name in step.kept) / sum(macs.values()))
        assert step.accepted == (step.low >= -0.1)


def test_nothing_is_kept_where_nothing_is_lost(tiny_net, questions):
    found = keep_float(tiny_net, lambda kept: tiny_net, questions, max_drop=0.02)

    assert (found.nodes, found.met, len(found.steps)) == ((), True, 1)


def test_a_bound_that_no_choice_holds_is_said_to_be_missed(tiny_net, build, questions):
    broken = build(())

    found = keep_float(tiny_net, lambda kept: broken, questions, max_drop=0.02)

    assert not found.met
    assert found.nodes == ("first", "second", "third", "head")


def test_every_version_of_an_image_must_be_answered(tiny_net, tiny_pipeline, questions):
    images = questions.versions["clean"]
    twin = Twin.open(tiny_net, tiny_pipeline, threads=1)
    task = TransferTask(images=images, labels=questions.labels, hashes=["0" * 64] * len(images), source=twin)

    attacked = questions_under(task, [parse_attack("fgsm:eps=8")], pipeline=tiny_pipeline)

    assert list(attacked.versions) == ["clean", "fgsm:eps=8"]
    clean, robust = (right_answers(tiny_net, each) for each in (questions, attacked))
    assert clean.all()
    assert 0 < robust.mean() < 1
    assert (robust <= clean).all()


def test_a_query_attack_is_refused(tiny_net, tiny_pipeline, questions):
    images = questions.versions["clean"]
    twin = Twin.open(tiny_net, tiny_pipeline, threads=1)
    task = TransferTask(images=images, labels=questions.labels, hashes=["0" * 64] * len(images), source=twin)

    with pytest.raises(InputError, match="transfer attack"):
        questions_under(task, [parse_attack("square")], pipeline=tiny_pipeline)


def test_too_few_images_to_show_the_bound_are_refused(tiny_net, build, questions):
    few = replace(questions, versions={"clean": questions.versions["clean"][:182]}, labels=questions.labels[:182])

    with pytest.raises(InputError, match="at least 183"):
        keep_float(tiny_net, build, few, max_drop=0.02)


@pytest.mark.parametrize("max_drop", [0, 1, -0.1, float("nan")])
def test_a_drop_that_is_no_share_is_refused(tiny_net, build, questions, max_drop):
    with pytest.raises(InputError, match="max_drop"):
        keep_float(tiny_net, build, questions, max_drop=max_drop)


def test_a_float_model_that_is_always_wrong_is_refused(tiny_net, build, questions):
    wrong = replace(questions, labels=(questions.labels + 1) % 4)

    with pytest.raises(InputError, match="cannot be seen"):
        keep_float(tiny_net, build, wrong, max_drop=0.1)


def test_layers_without_names_are_refused(tiny_net):
    nameless = onnx.ModelProto()
    nameless.CopyFrom(tiny_net)
    nameless.graph.node[0].name = ""

    with pytest.raises(InputError, match="names"):
        layer_macs(nameless)
