"""What moves with the runtime alone stands beside what an evaluation compares."""

import json

import numpy as np
import pytest

from robustmq_trt import assets
from robustmq_trt.cli.main import main
from robustmq_trt.cli.noise_floor import noise_floor
from robustmq_trt.cli.targets import opened_targets
from robustmq_trt.engines.behaviour import compare
from robustmq_trt.inputs.sources import open_dataset


def test_one_file_is_compared_with_its_other_ways_to_run():
    dataset = open_dataset(assets.images_dir("eval")).subset(8, 0)
    with opened_targets([str(assets.model_path())], preset=None, threads=2, batch=8) as targets:
        (found,) = noise_floor(targets, dataset, threads=2).values()

    assert found["threads: 1"].startswith("0 of 8 answers differ, max |score difference| 0,")
    assert found["simulation"].startswith("0 of 8 answers differ")


def test_an_audit_shows_how_the_engine_agrees_with_its_simulation(capsys: pytest.CaptureFixture[str]):
    model = str(assets.model_path())

    assert main(["audit", model, "--simulation", model, "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert document["behaviour"]["agreement"]["images"] == 128
    assert document["behaviour"]["input_saturates"] is False
    assert any(note.startswith("against the simulation: 0 of 128") for note in document["notes"])


def test_scores_that_are_not_finite_have_no_difference_in_json():
    found = compare(np.float32([[np.inf, 1]]), np.float32([[np.inf, 2]])).to_json()

    assert (found["images"], found["max_delta"], found["spread"]) == (1, None, None)
