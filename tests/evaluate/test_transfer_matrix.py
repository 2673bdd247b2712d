import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from robustmq_trt.core.errors import EngineError, InputError, TargetChangedError
from robustmq_trt.core.record import Record
from robustmq_trt.evaluate.attacks.catalog import parse_attack
from robustmq_trt.evaluate.attacks.climb import Ascent
from robustmq_trt.evaluate.attacks.gradient import TransferTask
from robustmq_trt.evaluate.attacks.mifgsm import mifgsm
from robustmq_trt.evaluate.finished_cells import FinishedCells
from robustmq_trt.evaluate.model_target import model_target
from robustmq_trt.evaluate.target import Target, answer
from robustmq_trt.evaluate.transfer_matrix import Pictures, Source, transfer_matrix
from robustmq_trt.evaluate.twin.agreement import GATE, agree
from robustmq_trt.evaluate.twin.twin import Twin
from robustmq_trt.evaluate.verdict import all_routes
from robustmq_trt.inputs.pipeline import Pipeline

ATTACK = parse_attack("mifgsm:eps=8,steps=3")


def other_net(net: onnx.ModelProto) -> onnx.ModelProto:
    """The same net with some weights shaken."""
    copy = onnx.ModelProto()
    copy.CopyFrom(net)
    for tensor in copy.graph.initializer:
        if tensor.name == "wc":
            values = numpy_helper.to_array(tensor)
            shaken = values + 0.3 * np.random.default_rng(8).normal(size=values.shape) * values.std()
            tensor.CopyFrom(numpy_helper.from_array(shaken.astype(np.float32), tensor.name))
    return copy


@pytest.fixture(scope="module")
def engines(tiny_net: onnx.ModelProto, tiny_pipeline: Pipeline) -> Iterator[list[Target]]:
    with ExitStack() as stack:
        opened = [
            stack.enter_context(model_target(net, tiny_pipeline, threads=1)) for net in (tiny_net, other_net(tiny_net))
        ]
        yield [replace(target, name=name) for target, name in zip(opened, "AB", strict=True)]


@pytest.fixture(scope="module")
def twins(tiny_net: onnx.ModelProto, tiny_pipeline: Pipeline) -> list[Twin]:
    return [Twin.open(net, tiny_pipeline, threads=1) for net in (tiny_net, other_net(tiny_net))]


@pytest.fixture(scope="module")
def pictures(engines: list[Target], colours: np.ndarray) -> Pictures:
    labels = answer(engines[0], colours[:80]).prediction.tolist()
    return Pictures.of(colours[:80], labels, [f"{i:03x}" for i in range(80)])


def test_each_cell_counts_the_images_that_source_and_engine_both_get_right(
    engines: list[Target], twins: list[Twin], pictures: Pictures
) -> None:
    sources = [Source(name=f"twin {n}", kind="surrogate", sha256=n, twin=t) for n, t in zip("AB", twins, strict=True)]

    found = transfer_matrix(sources, engines, pictures, ATTACK)

    cells = {(record.condition, record.engine): record for record in found}
    assert len(cells) == len(found) == 4
    for source, twin in zip(sources, twins, strict=True):
        task = TransferTask(images=pictures.images, labels=pictures.labels, hashes=pictures.hashes, source=twin)
        adversarials = mifgsm(task, Ascent(eps=8, steps=3)).adversarials
        knows = twin.scores(pictures.images).argmax(axis=1) == pictures.labels
        for engine in engines:
            both = knows & (answer(engine, pictures.images).prediction == pictures.labels)
            wrong = answer(engine, adversarials).prediction != pictures.labels
            cell = cells[f"{ATTACK.label} from {source.name}", engine.name]
            assert (cell.metric, cell.n, cell.value) == ("transfer", both.sum(), wrong[both].mean())
            assert 0 <= cell.low < cell.value < cell.high <= 1
            assert cell.identity["source_sha256"] == source.sha256


def test_a_twin_of_a_targets_file_carries_its_agreement(
    engines: list[Target], twins: list[Twin], pictures: Pictures
) -> None:
    source = Source(name="A", kind="twin", sha256="a", twin=twins[0], engine="A")

    first = transfer_matrix([source], engines, pictures, ATTACK)[0]

    assert (first.metric, first.value, first.n, first.flags) == ("twin_agreement", 1.0, 80, ())
    assert 0 <= first.identity["largest_logit_difference"] < 1e-4


def test_a_twin_that_answers_unlike_its_engine_is_a_row_with_the_reason(
    engines: list[Target], twins: list[Twin], pictures: Pictures
) -> None:
    impostor = Source(name="A", kind="twin", sha256="a", twin=twins[1], engine="A")

    found = transfer_matrix([impostor], engines, pictures, ATTACK)

    agreement, *cells = found
    assert agreement.value < GATE
    assert agreement.flags == ("below-gate",)
    assert [(cell.engine, cell.n) for cell in cells] == [("A", 0), ("B", 0)]
    assert all("those of another model" in cell.flags[0] for cell in cells)


def test_a_source_without_gradients_is_a_row_with_the_reason(engines: list[Target], pictures: Pictures) -> None:
    found = transfer_matrix([Source(name="S", kind="twin", sha256="s", missing="a server")], engines, pictures, ATTACK)

    assert [(record.engine, record.n, record.flags) for record in found] == [
        ("A", 0, ("a server",)),
        ("B", 0, ("a server",)),
    ]


def test_routes_add_the_survival_of_each_cell(engines: list[Target], twins: list[Twin], pictures: Pictures) -> None:
    source = Source(name="S", kind="surrogate", sha256="s", twin=twins[0])

    found = transfer_matrix([source], engines[:1], pictures, ATTACK, routes=all_routes(qualities=(90,)))

    assert {record.condition.partition(" via ")[2] for record in found} == {"", "lossless", "jpeg:90"}
    assert sum(record.metric == "survival" for record in found) == 2


def cells(found: list[Record]) -> dict[tuple[str, str], Record]:
    return {(record.condition, record.engine): record for record in found}


def test_an_engine_that_breaks_costs_its_own_cells_alone(
    engines: list[Target], twins: list[Twin], pictures: Pictures, dying: Callable[[Target, int], Target]
) -> None:
    sources = [Source(name=n, kind="surrogate", sha256=n, twin=t) for n, t in zip("ST", twins, strict=True)]
    calls = -(-len(pictures.images) // engines[1].batch)  # the clean images and the first source's examples

    found = transfer_matrix(sources, [engines[0], dying(engines[1], 2 * calls)], pictures, ATTACK)

    whole = cells(transfer_matrix(sources, engines, pictures, ATTACK))
    broken = cells(found).pop((f"{ATTACK.label} from T", "B"))
    assert (broken.metric, broken.n, broken.flags) == ("transfer", 0, ("failed: RuntimeError: out of order",))
    assert {place: cell for place, cell in cells(found).items() if cell is not broken} == {
        place: cell for place, cell in whole.items() if place != (broken.condition, "B")
    }


def test_an_engine_that_breaks_has_a_row_for_every_route_too(
    engines: list[Target], twins: list[Twin], pictures: Pictures, dying: Callable[[Target, int], Target]
) -> None:
    source = Source(name="S", kind="surrogate", sha256="s", twin=twins[0])

    found = transfer_matrix([source], [dying(engines[0], 0)], pictures, ATTACK, routes=all_routes(qualities=(90,)))

    assert [(cell.condition.partition(" via ")[2], cell.metric) for cell in found] == [
        *(("", "transfer"), ("lossless", "survival"), ("jpeg:90", "survival"))
    ]
    assert {cell.flags for cell in found} == {("failed: RuntimeError: out of order",)}


def test_an_engine_that_never_answers_is_a_row_for_every_source(
    engines: list[Target], twins: list[Twin], pictures: Pictures, dying: Callable[[Target, int], Target]
) -> None:
    own = Source(name="A", kind="twin", sha256="a", twin=twins[0], engine="A")
    other = Source(name="S", kind="surrogate", sha256="s", twin=twins[1])

    found = transfer_matrix([own, other], [dying(engines[0], 0), engines[1]], pictures, ATTACK)

    # Nobody can tell whether its twin answers like it; the other source's examples are shown to the other engine.
    assert [(cell.engine, cell.n > 0) for cell in found] == [("A", False), ("B", False), ("A", False), ("B", True)]
    assert all(cell.flags == ("failed: RuntimeError: out of order",) for cell in found if not cell.n)


def test_a_source_that_breaks_is_a_row_for_every_engine(
    engines: list[Target], twins: list[Twin], pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise EngineError("The backward graph failed on 3 images: out of memory")

    tired = copy.copy(twins[0])
    monkeypatch.setattr(tired, "scored_gradient", broken)
    sources = [Source(name=n, kind="surrogate", sha256=n, twin=t) for n, t in (("S", tired), ("T", twins[1]))]

    found = transfer_matrix(sources, engines, pictures, ATTACK)

    assert [(cell.engine, cell.n > 0) for cell in found] == [("A", False), ("B", False), ("A", True), ("B", True)]
    assert found[0].flags == ("failed: The backward graph failed on 3 images: out of memory",)


def test_an_engine_without_finite_scores_is_never_right_and_is_told(
    engines: list[Target], twins: list[Twin], pictures: Pictures
) -> None:
    blank = SimpleNamespace(
        spec=engines[0].engine.spec, infer=lambda batch: np.full((len(batch), 4), np.nan, np.float32)
    )
    source = Source(name="S", kind="surrogate", sha256="s", twin=twins[0])

    found = transfer_matrix([source], [replace(engines[0], engine=blank), engines[1]], pictures, ATTACK)

    assert [(cell.engine, cell.n > 0) for cell in found] == [("A", False), ("B", True)]
    assert found[0].flags == ("80 of 80 images without finite scores",)


def test_what_is_no_transfer_attack_is_refused(engines: list[Target], pictures: Pictures) -> None:
    with pytest.raises(InputError, match="transfer attack"):
        transfer_matrix([], engines, pictures, parse_attack("square"))
    with pytest.raises(InputError, match="No image"):
        Pictures.of(np.zeros((0, 8, 8, 3), np.uint8), [], [])


def test_the_largest_logit_difference_is_not_stated_where_the_engine_gives_no_logits() -> None:
    scores = np.eye(3, dtype=np.float32)

    assert np.isnan(agree(scores, scores, logits=False).largest_difference)
    assert agree(scores, scores + 0.5, logits=True).largest_difference == 0.5


def test_finished_pairs_are_not_measured_and_those_of_a_new_engine_are(
    engines: list[Target], twins: list[Twin], pictures: Pictures, dying: Callable[[Target, int], Target], tmp_path: Path
) -> None:
    own = Source(name="A", kind="twin", sha256="a", twin=twins[0], engine="A")
    other = Source(name="S", kind="surrogate", sha256="s", twin=twins[1])
    whole = transfer_matrix([own, other], engines, pictures, ATTACK)
    transfer_matrix([own, other], engines[:1], pictures, ATTACK, finished=FinishedCells(tmp_path))
    cells = FinishedCells(tmp_path)

    found = transfer_matrix([own, other], engines, pictures, ATTACK, finished=cells)
    again = transfer_matrix(
        [own, other], [dying(engine, 0) for engine in engines], pictures, ATTACK, finished=FinishedCells(tmp_path)
    )

    assert (cells.found, cells.kept) == (2, 2)
    assert found == again == whole


def test_pairs_of_another_attack_source_or_picture_are_not_taken(
    engines: list[Target], twins: list[Twin], pictures: Pictures, tmp_path: Path
) -> None:
    source = Source(name="S", kind="surrogate", sha256="s", twin=twins[0])
    transfer_matrix([source], engines, pictures, ATTACK, finished=FinishedCells(tmp_path))
    brighter = replace(pictures, images=pictures.images | 1)
    cells = FinishedCells(tmp_path)

    transfer_matrix([source], engines, pictures, parse_attack("mifgsm:eps=8,steps=2"), finished=cells)
    transfer_matrix([source], engines, pictures, ATTACK, seed=1, finished=cells)
    transfer_matrix([source], engines, brighter, ATTACK, finished=cells)
    transfer_matrix([replace(source, twin=twins[1])], engines, pictures, ATTACK, finished=cells)
    transfer_matrix([source], engines, pictures, ATTACK, routes=all_routes(qualities=(90,)), finished=cells)

    assert (cells.found, cells.kept) == (0, 10)


def test_a_pair_of_an_engine_that_may_have_been_replaced_is_a_row_and_is_not_kept(
    engines: list[Target], twins: list[Twin], pictures: Pictures, tmp_path: Path
) -> None:
    def replaced() -> None:
        raise TargetChangedError("The model was replaced.")

    served = SimpleNamespace(spec=engines[0].engine.spec, infer=engines[0].engine.infer, verify=replaced)
    source = Source(name="S", kind="surrogate", sha256="s", twin=twins[0])
    cells = FinishedCells(tmp_path)

    found = transfer_matrix(
        [source], [replace(engines[0], engine=served), engines[1]], pictures, ATTACK, finished=cells
    )

    assert [(cell.engine, cell.flags) for cell in found] == [("A", ("failed: The model was replaced.",)), ("B", ())]
    assert cells.kept == 1
