"""The grid's figures against numpy on answers made up by hand, and what is compared with what."""

import numpy as np
import pytest

from robustmq_trt.evaluate.systematic import GRID, REFERENCE_CELL, grid_ways, systematic_records

WAYS = (REFERENCE_CELL, "opencv/opencv-area", "opencv/opencv-nearest")


@pytest.fixture
def served(rng, made_up):
    chances = {("float", w): c for w, c in zip(WAYS, (0.9, 0.9, 0.7), strict=True)}
    chances |= {("int8", w): c for w, c in zip(WAYS, (0.85, 0.85, 0.4), strict=True)}
    return made_up({place: rng.random(300) < chance for place, chance in chances.items()})


def found(records, engine, condition, metric):
    (record,) = [r for r in records if (r.engine, r.condition, r.metric) == (engine, condition, metric)]
    return record


def test_the_grid_has_every_decoder_with_every_resize_at_the_models_size(tiny_pipeline):
    ways = grid_ways(tiny_pipeline)

    assert REFERENCE_CELL in {way.name for way in ways}
    assert {way.pipeline.size for way in ways} == {(8, 8)}
    assert {way.pipeline.geometry for way in ways} == {"squash"}
    assert {way.pipeline.mean for way in ways} == {tiny_pipeline.mean}


def test_mean_and_population_deviation_are_over_cells(served):
    records = systematic_records(served, ["float", "int8"])

    for engine in ("float", "int8"):
        cells = [served.right(engine, way).mean() for way in WAYS]
        mean, deviation = (found(records, engine, GRID, m) for m in ("mean_accuracy", "std_accuracy"))
        assert mean.value == pytest.approx(np.mean(cells))
        assert deviation.value == pytest.approx(np.std(cells, ddof=0))
        assert mean.low < mean.value < mean.high
        worst = found(records, engine, GRID, "worst_cell")
        assert (worst.value, worst.identity["cell"]) == (pytest.approx(min(cells)), "opencv/opencv-nearest")


def test_flips_count_answers_that_differ_not_answers_that_are_wrong(made_up):
    answers = {("e", way): np.zeros(10, np.bool_) for way in WAYS}
    served = made_up(answers)
    served.answers["e", WAYS[1]][:3] = 7  # wrong as before, but another answer
    served.answers["e", WAYS[2]][3:8] = 7

    records = systematic_records(served, ["e"])

    assert found(records, "e", WAYS[1], "flips").value == pytest.approx(0.3)
    largest = found(records, "e", GRID, "largest_flips")
    assert (largest.value, largest.identity["cell"]) == (0.8, f"{WAYS[1]} against {WAYS[2]}")


def test_engines_are_compared_in_every_cell_and_over_the_grid(served):
    records = systematic_records(served, ["float", "int8"])

    compared = {(r.condition, r.metric) for r in records if r.comparison is not None}
    statistics = ("mean_accuracy", "std_accuracy", "worst_cell", "best_cell", "every_cell_accuracy")
    assert compared == {(way, "accuracy") for way in WAYS} | {(GRID, metric) for metric in statistics}
    worst = found(records, "int8", GRID, "worst_cell").comparison
    assert (worst.reference, worst.verdict) == ("float", "worse")
    # More spread is worse, although the number is larger.
    spread = found(records, "int8", GRID, "std_accuracy").comparison
    assert spread.difference > 0
    assert spread.verdict == "worse"


def test_cells_of_equal_pixels_are_counted_once(served, made_up):
    served = made_up(
        {place: served.right(*place) for place in served.answers}, pixels={w: w.partition("/")[0] for w in WAYS}
    )

    record = found(systematic_records(served, ["float"]), "float", GRID, "mean_accuracy")

    assert (record.identity["cells"], record.identity["different_cells"]) == (3, 2)


def test_what_cannot_run_is_a_row_with_its_reason(served, made_up):
    right = {place: served.right(*place) for place in served.answers}
    served = made_up(right, missing={"ffmpeg/x": "not installed"}, broken={"gone": "crashed"})

    records = systematic_records(served, ["float", "int8", "gone"])

    assert found(records, "int8", "ffmpeg/x", "accuracy").flags == ("missing: not installed",)
    broken = found(records, "gone", GRID, "accuracy")
    assert (broken.n, broken.flags) == (0, ("failed: crashed",))
