"""A run with an attack that is learned on other images: once for all chunks, on none that it attacks."""

from collections.abc import Iterator

import numpy as np
import onnx
import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.evaluate.attacks.catalog import parse_attack
from robustmq_trt.evaluate.cells import shown_images
from robustmq_trt.evaluate.model_target import model_target
from robustmq_trt.evaluate.plan import Plan, Run, Surrogate
from robustmq_trt.evaluate.twin.twin import InputGradient, Twin
from robustmq_trt.inputs.dataset import Dataset, Sample
from robustmq_trt.inputs.pipeline import Pipeline

ATTACK = parse_attack("universal:eps=8,steps=5,images=20")


class Counting:
    """A twin that counts the passes it is asked for."""

    def __init__(self, twin: Twin) -> None:
        self.twin, self.asked = twin, 0

    def gradient(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return self.scored_gradient(images, labels).gradient

    def scored_gradient(self, images: np.ndarray, labels: np.ndarray) -> InputGradient:
        self.asked += 1
        return self.twin.scored_gradient(images, labels)


@pytest.fixture
def source(tiny_net: onnx.ModelProto, tiny_pipeline: Pipeline) -> Counting:
    return Counting(Twin.open(tiny_net, tiny_pipeline, threads=1))


@pytest.fixture
def run(tiny_net: onnx.ModelProto, tiny_pipeline: Pipeline, colours: np.ndarray, source: Counting) -> Iterator[Run]:
    samples = tuple(Sample(name=str(i), label=i % 4, source=image) for i, image in enumerate(colours[:32]))
    with model_target(tiny_net, tiny_pipeline, threads=1) as target:
        yield Run(
            plan=Plan(conditions=[ATTACK], chunk_images=4),
            targets=[target],
            dataset=Dataset(samples=samples[:8]),
            surrogate=Surrogate(source=source, sha256=""),
            others=Dataset(samples=samples[8:]),
        )


def test_an_attack_is_learned_once_for_all_chunks(run: Run, source: Counting) -> None:
    chunks = [(chunk, chunk.load(run.targets[0].pipeline)) for chunk in run.chunks()]

    shown = [shown_images(run, ATTACK, chunk, loaded).images for chunk, loaded in chunks]

    assert source.asked == 5
    for (_, loaded), images in zip(chunks, shown, strict=True):
        assert 0 < np.abs(images.astype(int) - loaded.images).max() <= 8


def test_a_cell_is_another_one_where_it_is_learned_on_other_images(run: Run) -> None:
    assert run.others is not None
    chunk = next(run.chunks())
    known = run.identity(run.targets[0], ATTACK, chunk)
    moved = Dataset(samples=run.others.samples[1:])
    other = Run(plan=run.plan, targets=run.targets, dataset=run.dataset, surrogate=run.surrogate, others=moved)

    assert other.identity(run.targets[0], ATTACK, chunk) != known


def test_an_image_to_learn_on_whose_class_no_engine_has_is_refused(run: Run, colours: np.ndarray) -> None:
    strange = tuple(Sample(name=str(i), label=9, source=image) for i, image in enumerate(colours[40:60]))
    run = Run(
        plan=run.plan,
        targets=run.targets,
        dataset=run.dataset,
        surrogate=run.surrogate,
        others=Dataset(samples=strange),
    )
    chunk = next(run.chunks())

    with pytest.raises(InputError, match="got 9"):
        shown_images(run, ATTACK, chunk, chunk.load(run.targets[0].pipeline))


def test_a_twin_tells_scores_and_gradient_from_one_pass(source: Counting, colours: np.ndarray) -> None:
    labels = np.arange(6) % 4

    found = source.twin.scored_gradient(colours[:6], labels)

    np.testing.assert_array_equal(found.scores, source.twin.scores(colours[:6]))
    np.testing.assert_array_equal(found.gradient, source.twin.gradient(colours[:6], labels))
