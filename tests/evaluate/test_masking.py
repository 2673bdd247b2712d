"""Flags against answers written out by hand: each piece of evidence, and what is no evidence."""

from collections.abc import Mapping

import numpy as np
import pytest
from onnx import numpy_helper, parser

from robustmq_trt.evaluate.attacks.catalog import parse_attack, strength
from robustmq_trt.evaluate.attacks.gradient import TransferTask
from robustmq_trt.evaluate.attacks.pgd import pgd
from robustmq_trt.evaluate.masking import masked_conditions
from robustmq_trt.evaluate.results import Cell, Results
from robustmq_trt.evaluate.twin.twin import Twin
from robustmq_trt.inputs.catalog import PRESETS

N = 60


def cell(held: int, *, zero_gradient: float = 0, surrogate: str = "another") -> Cell:
    """Make the answers to ``N`` images of which the first ``held`` are right."""
    return Cell(
        valid=np.ones(N, dtype=np.bool_),
        correct=np.arange(N) < held,
        tied=np.zeros(N, dtype=np.bool_),
        prediction=np.zeros(N, dtype=np.int64),
        queries=np.zeros(N, dtype=np.int64),
        zero_gradient=np.full(N, zero_gradient),
        reached=np.zeros(N, dtype=bool),
        identity={"target": {"sha256": "own"}, "surrogate": surrogate},
    )


def flags(held: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Give the flags of one engine that holds on so many images under each attack."""
    attacks = [parse_attack(spec) for spec in held]
    cells = {("int8", attack.label): cell(count) for attack, count in zip(attacks, held.values(), strict=True)}
    found = masked_conditions(Results(cells={("int8", "clean"): cell(N), **cells}, missing={}), ["int8"], attacks)
    return {spec: found.get(("int8", attack.label), ()) for spec, attack in zip(held, attacks, strict=True)}


def flags_on(surrogate: str, spec: str, held: int, queries: str, held_under_queries: int) -> tuple[str, ...]:
    """Give the flags of an attack on one model's gradients, beside a query attack."""
    attacks = [parse_attack(spec), parse_attack(queries)]
    cells = {
        ("int8", "clean"): cell(N),
        ("int8", attacks[0].label): cell(held, surrogate=surrogate),
        ("int8", attacks[1].label): cell(held_under_queries),
    }
    found = masked_conditions(Results(cells=cells, missing={}), ["int8"], attacks)
    return found.get(("int8", attacks[0].label), ())


def test_gradients_of_the_engine_itself_that_find_less_than_queries_are_flagged() -> None:
    assert flags_on("own", "pgd:eps=8", 50, "square:eps=8", 10) == ("weaker-than-queries",)
    assert flags_on("own", "pgd:eps=8", 12, "square:eps=8", 10) == ()
    assert flags_on("own", "pgd:eps=8", 10, "square:eps=8", 50) == ()


@pytest.mark.parametrize(
    ("surrogate", "spec", "queries"),
    [
        ("another", "pgd:eps=8", "square:eps=8"),  # transfer has every right to find less
        ("own", "fgsm:eps=8", "square:eps=8"),  # so has a single step
        ("own", "pgd:eps=4", "square:eps=8"),
        ("own", "pgd:eps=8", "square:eps=8,start=mifgsm"),  # which has the gradients too
    ],
)
def test_what_need_not_find_as_much_as_queries_is_not_flagged(surrogate: str, spec: str, queries: str) -> None:
    assert flags_on(surrogate, spec, 50, queries, 10) == ()


@pytest.mark.parametrize(
    ("straight_through", "flagged"), [(True, ()), (False, ("zero-gradients", "no-better-than-noise"))]
)
def test_gradients_through_plain_rounding_are_exposed(straight_through: bool, flagged: tuple[str, ...]) -> None:
    """The classes are the two signs of a sum of rounded values, so that PGD has its way where a gradient shows it."""
    rng = np.random.default_rng(0)
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[n, 3, 4, 4] x) => (float[n, 2] y) <float a = {0.05}, uint8 o = {128}> {
            q = QuantizeLinear(x, a, o) d = DequantizeLinear(q, a, o) f = Flatten(d) y = MatMul(f, w)
        }"""
    )
    weights = rng.choice([-1, 1], (48, 1)) * np.array([[1, -1]])
    model.graph.initializer.append(numpy_helper.from_array(weights.astype(np.float32), "w"))
    twin = Twin.open(model, PRESETS["cifar10"].for_size(4, 4), threads=1, straight_through=straight_through)
    images = rng.integers(110, 140, (N, 4, 4, 3), dtype=np.uint8)
    labels = twin.scores(images).argmax(axis=1)

    made = pgd(
        TransferTask(images=images, labels=labels, hashes=[str(i) for i in range(N)], source=twin, seed=0), eps=8
    )

    held = int((twin.scores(made.adversarials).argmax(axis=1) == labels).sum())
    attacks = [parse_attack("pgd:eps=8"), parse_attack("noise:eps=8")]
    cells = {
        ("int8", "clean"): cell(N),
        ("int8", attacks[0].label): cell(held, zero_gradient=made.zero_gradient_share),
        ("int8", attacks[1].label): cell(40),
    }
    found = masked_conditions(Results(cells=cells, missing={}), ["int8"], attacks)
    assert found.get(("int8", attacks[0].label), ()) == flagged


def test_attacks_of_equal_eps_in_another_norm_are_not_compared() -> None:
    found = flags({"square_l2:eps=127": 50, "mifgsm:eps=127": 0, "pgd_l1:eps=127": 0})

    assert found["square_l2:eps=127"] == ()


def test_attacks_of_equal_eps_and_norm_are_compared_whatever_the_norm() -> None:
    assert flags({"square_l2:eps=127": 50, "pgd_l2:eps=127": 0})["square_l2:eps=127"] == ("weaker-than-transfer",)


@pytest.mark.parametrize(
    ("spec", "written"), [("square:eps=8", "eps=8"), ("pgd_l2:eps=510", "norm=l2,eps=510"), ("noise:eps=2", "eps=2")]
)
def test_a_strength_is_written_with_its_norm_where_it_is_not_linf(spec: str, written: str) -> None:
    assert strength(parse_attack(spec)) == written


@pytest.mark.parametrize(
    ("small", "large", "flagged"),
    [(40, 40, True), (40, 45, True), (40, 39, False), (2, 2, False), (0, 0, False)],
)
def test_robust_accuracy_that_does_not_fall_with_eps_is_flagged(small: int, large: int, flagged: bool) -> None:
    found = flags({"mifgsm:eps=2": small, "mifgsm:eps=8": large})

    assert found["mifgsm:eps=2"] == ()
    assert found["mifgsm:eps=8"] == (("flat-in-eps",) if flagged else ())


def test_only_the_same_attack_is_followed_over_eps() -> None:
    found = flags({"mifgsm:eps=2,steps=20": 30, "square:eps=4,queries=100": 30, "square:eps=8,start=mifgsm": 40})

    assert set(found.values()) == {()}


@pytest.mark.parametrize(("few", "many"), [("mifgsm:steps=10", "mifgsm:steps=40"), ("rays", "rays:queries=5000")])
def test_an_attack_that_finds_significantly_less_with_more_steps_is_flagged(few: str, many: str) -> None:
    assert flags({few: 20, many: 30})[many] == ("worse-with-steps",)
    assert flags({few: 20, many: 22})[many] == ()
    assert flags({few: 30, many: 20}) == {few: (), many: ()}


@pytest.mark.parametrize(("held", "flagged"), [(30, True), (4, True), (3, False), (0, False)])
def test_an_attack_that_fails_without_a_bound_is_broken_at_every_eps(held: int, flagged: bool) -> None:
    found = flags({"square:eps=8": 59, "square:eps=255": held, "rays:eps=8": 50})

    assert ("broken-attack" in found["square:eps=8"]) == flagged
    assert ("broken-attack" in found["square:eps=255"]) == flagged
    assert found["rays:eps=8"] == ()


def test_a_large_eps_in_l2_is_not_without_a_bound() -> None:
    assert flags({"square_l2:eps=255": 50})["square_l2:eps=255"] == ()


@pytest.mark.parametrize(("held", "flagged"), [(50, True), (47, True), (40, False)])
def test_an_attack_not_significantly_better_than_noise_is_flagged(held: int, flagged: bool) -> None:
    found = flags({"square:eps=8": held, "noise:eps=8": 50, "noise:eps=4": 0})

    assert found["square:eps=8"] == (("no-better-than-noise",) if flagged else ())
    assert found["noise:eps=8"] == ()


def test_an_attack_that_leaves_nothing_needs_not_beat_noise() -> None:
    assert flags({"square:eps=255": 0, "noise:eps=255": 0})["square:eps=255"] == ()


def test_noise_itself_claims_nothing_and_is_never_flagged() -> None:
    found = flags({"noise:eps=8": 60, "noise:eps=16": 60, "noise:eps=255": 60, "mifgsm:eps=8": 0})

    assert {found[spec] for spec in found if spec.startswith("noise")} == {()}
