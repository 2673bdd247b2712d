"""What is read back from a results file: cells, totals and flips of rows written by hand."""

import numpy as np
import pytest

from robustmq_trt.core.store import ImageRow, Store, Task
from robustmq_trt.evaluate.conditions import CLEAN
from robustmq_trt.evaluate.flips import flips
from robustmq_trt.evaluate.metrics import Study
from robustmq_trt.evaluate.results import Results
from robustmq_trt.evaluate.suites import corruption_condition
from robustmq_trt.evaluate.summary import totals, undecodable

FOG = corruption_condition("fog:1")
LABELS = (3, 3, 8, 8, 8)


def task(engine: str, condition: str, answers: str, *, first: int = 0) -> Task:
    """Make a measured task from a string of 1 (right), 0 (wrong) and - (undecodable), one letter an image."""
    rows = [
        ImageRow(
            position=place,
            image=str(place),
            name=f"{place}.png",
            label=LABELS[place],
            prediction=None if letter == "-" else LABELS[place] if letter == "1" else 0,
            correct=letter == "1",
            valid=letter != "-",
            reason="cut short" if letter == "-" else "",
        )
        for place, letter in enumerate(answers, start=first)
    ]
    return Task(
        key=f"{engine} {condition} {first}",
        engine=engine,
        condition=condition,
        status="measured",
        identity={},
        rows=rows,
    )


def untold(engine: str, condition: str, status: str, reason: str, *, first: int = 0) -> Task:
    key = f"{engine} {condition} {first}"
    return Task(key=key, engine=engine, condition=condition, status=status, reason=reason, identity={})


@pytest.fixture
def stored(tmp_path):
    """Give a function that stores tasks as a run of two engines, and gives the file and what is read from it."""
    with Store(tmp_path / "results.sqlite") as store:

        def store_tasks(*tasks: Task) -> tuple[Store, Study]:
            for found in tasks:
                store.add(found)
            keys = [found.key for found in tasks]
            store.put_document("plan", {"keys": keys})
            results = Results.collect(store.tasks(keys), images=len(LABELS))
            return store, Study(results=results, engines=["a", "b"], conditions=[CLEAN, FOG], seed=0, classes=10)

        yield store_tasks


def test_chunks_of_a_cell_are_put_together_and_what_no_chunk_holds_is_not_valid(stored):
    _, study = stored(task("a", "clean", "1-", first=3), task("a", "clean", "01"))

    cell = study.cell("a", "clean")

    assert cell is not None
    np.testing.assert_array_equal(cell.valid, [True, True, False, True, False])
    np.testing.assert_array_equal(cell.correct, [False, True, False, True, False])
    np.testing.assert_array_equal(cell.prediction, [0, 3, -1, 8, -1])


def test_totals_count_a_cell_that_broke_in_part_as_failed(stored):
    _, study = stored(
        task("a", "clean", "11111"),
        task("b", "clean", "111"),
        untold("b", "clean", "failed", "out of memory", first=3),
        untold("a", FOG.label, "skipped", "frost needs its photographs"),
    )

    counted = totals(study)

    assert (counted.cells, counted.measured, counted.skipped, counted.failed) == (4, 1, 1, 2)
    assert counted.reasons == (
        (f"{FOG.label} on a", "frost needs its photographs"),
        ("clean on b", "failed: out of memory"),
        (f"{FOG.label} on b", "failed: not reached"),
    )


def test_images_that_no_engine_was_asked_about_are_named_once(stored):
    tasks = [task(engine, "clean", "1-1-1") for engine in ("a", "b")]

    assert undecodable(*stored(*tasks)) == [("1.png", "cut short"), ("3.png", "cut short")]


def test_flips_name_the_images_whose_answer_changed_and_count_them_by_class(stored):
    store, study = stored(task("a", "clean", "11010"), task("b", "clean", "01100"))

    (found,) = flips(store, study, "a", "b")

    assert (found.condition, found.n) == ("clean", 5)
    assert found.became_wrong == ("0.png", "3.png")
    assert found.became_right == ("2.png",)
    assert found.by_class == {3: (1, 0), 8: (1, 1)}


def test_flips_leave_out_images_and_conditions_that_one_engine_was_not_asked_about(stored):
    store, study = stored(
        task("a", "clean", "1-111"), task("b", "clean", "001-"), task("a", FOG.label, "11111"), task("b", "other", "0")
    )

    (found,) = flips(store, study, "a", "b")

    assert (found.condition, found.n, found.became_wrong) == ("clean", 2, ("0.png",))
