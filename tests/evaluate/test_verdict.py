import sys
from collections.abc import Callable
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.evaluate.attacks.catalog import parse_attack
from robustmq_trt.evaluate.conditions import CLEAN, Condition
from robustmq_trt.evaluate.model_target import model_target
from robustmq_trt.evaluate.target import Target, answer
from robustmq_trt.evaluate.verdict import LOSSLESS, Route, all_routes, named_route, through, verdict, with_routes
from robustmq_trt.inputs.pipeline import Pipeline


def noisy(colours: np.ndarray, eps: int) -> np.ndarray:
    noise = np.random.default_rng(5).integers(-eps, eps + 1, colours.shape)
    return np.clip(colours.astype(int) + noise, 0, 255).astype(np.uint8)


def test_the_lossless_route_changes_nothing(colours: np.ndarray, tiny_pipeline: Pipeline) -> None:
    np.testing.assert_array_equal(through(colours[:5], LOSSLESS, tiny_pipeline), colours[:5])


def test_the_jpeg_route_shows_what_a_decoder_gives(colours: np.ndarray, tiny_pipeline: Pipeline) -> None:
    shown = through(colours[:3], Route(name="jpeg:75", quality=75), tiny_pipeline)

    for image, given in zip(colours, shown, strict=False):
        _, file = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 75])
        np.testing.assert_array_equal(given, cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1])


def test_the_preset_route_resizes_as_the_preset_does(colours: np.ndarray, tiny_pipeline: Pipeline) -> None:
    shown = through(colours[:3], Route(name="preset:opencv-nearest", preset="opencv-nearest"), tiny_pipeline)

    assert shown.shape == colours[:3].shape
    assert (shown != colours[:3]).any()


def test_a_route_is_found_again_by_its_name() -> None:
    for route in all_routes(["opencv-nearest"], (95, 3)):
        assert named_route(route.name) == route


def test_routes_follow_their_attack_and_the_clean_controls_come_first() -> None:
    fgsm, blur = (
        parse_attack("fgsm:eps=4"),
        Condition(kind="corruption", name="motion_blur", settings=(("severity", 3),)),
    )
    impossible = Condition(kind="attack", name="autoattack", unsupported="needs gradients")

    found = with_routes([fgsm, blur, impossible], [LOSSLESS, named_route("jpeg:90")])

    assert [condition.label for condition in found] == [
        *("clean", "clean via lossless", "clean via jpeg:90"),
        *("fgsm:eps=4", "fgsm:eps=4 via lossless", "fgsm:eps=4 via jpeg:90"),
        *("motion_blur:3", "autoattack"),
    ]
    assert [condition.base for condition in found[:6]] == [CLEAN] * 3 + [fgsm] * 3
    assert {condition.kind for condition in found if condition.route} == {"route"}


def test_rates_equal_those_counted_by_hand(
    tiny_net: onnx.ModelProto, tiny_pipeline: Pipeline, colours: np.ndarray
) -> None:
    colours = colours[:80]
    adversarials = noisy(colours, 120)
    with model_target(tiny_net, tiny_pipeline, threads=1) as target:
        labels = answer(target, colours).prediction
        labels[:20] += 1
        found = verdict(
            target, colours, adversarials, labels, condition="noise", routes=all_routes(["opencv-nearest"], (90,))
        )
        answers = {
            route: [
                answer(target, through(images, route, target.pipeline)).prediction == labels
                for images in (colours, adversarials)
            ]
            for route in all_routes(["opencv-nearest"], (90,))
        }

    values = {(record.condition, record.metric): record for record in found}
    lossless = answers[LOSSLESS]
    for route, (clean, attacked) in answers.items():
        name = f"noise via {route.name}"
        assert values[name, "clean_accuracy"].value == clean.mean()
        assert values[name, "robust_accuracy"].value == (clean & attacked).mean()
        assert values[name, "attack_success"].value == (~attacked)[clean].mean()
        fooled = lossless[0] & ~lossless[1] & clean
        assert values[name, "survival"].value == (~attacked)[fooled].mean()
        assert values[name, "survival"].n == fooled.sum() > 5
    assert values["noise via lossless", "survival"].value == 1
    identity = found[0].identity
    moved = np.abs(adversarials.astype(int) - colours)
    assert identity["linf_levels"] == moved.max()
    assert identity["l2_levels"] == pytest.approx(np.sqrt((moved**2).sum(axis=(1, 2, 3))).max())
    assert identity["l1_levels"] == moved.sum(axis=(1, 2, 3)).max()


def test_a_route_whose_package_is_missing_is_a_row_with_the_reason(
    tiny_net: onnx.ModelProto, tiny_pipeline: Pipeline, colours: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    routes, labels = all_routes(["ffmpeg"], ()), np.zeros(2, np.int64)

    (_, skipped) = with_routes([], routes)[1:]
    with model_target(tiny_net, tiny_pipeline, threads=1) as target:
        found = verdict(target, colours[:2], colours[:2], labels, condition="noise", routes=routes)

    assert "pip install" in skipped.unsupported
    assert skipped.base == CLEAN
    (row,) = [record for record in found if record.condition == "noise via preset:ffmpeg"]
    assert (row.n, row.flags) == (0, (skipped.unsupported,))
    assert next(record.n for record in found if record.condition == "noise via lossless") == 2


def test_a_route_on_which_the_engine_fails_is_a_row_with_the_reason(
    colours: np.ndarray, tiny_pipeline: Pipeline, pixel_target: Callable[..., Target], dying: Callable[..., Target]
) -> None:
    target, routes = dying(pixel_target("net", tiny_pipeline), 4), all_routes([], (90, 75))

    found = verdict(target, colours[:8], noisy(colours[:8], 60), np.zeros(8, int), condition="noise", routes=routes)

    failed = {record.condition: record.flags for record in found if record.metric == "survival" and record.flags}
    assert failed == {f"noise via jpeg:{quality}": ("failed: RuntimeError: out of order",) for quality in (90, 75)}
    assert next(record.n for record in found if record.condition == "noise via lossless") == 8


def test_what_does_not_fit_is_refused(colours: np.ndarray) -> None:
    with pytest.raises(InputError, match="preset"):
        all_routes(["nearest-ish"])
    for pair in ((colours[:2], colours[:3]), (colours[:0], colours[:0])):
        with pytest.raises(InputError, match="images"):
            verdict(None, *pair, np.zeros(2, int), condition="a", routes=[LOSSLESS])  # type: ignore[arg-type]


@pytest.mark.parametrize(("clean", "attacked"), [(0, 255), (255, 0)], ids=["attacked", "clean"])
def test_an_answer_that_is_not_finite_is_wrong_though_its_argmax_is_the_label(
    clean: int, attacked: int, tiny_pipeline: Pipeline
) -> None:
    """The engine answers black images rightly and gives NaN for white ones, whose argmax is the NaN's own place."""
    originals, adversarials = (np.full((3, *tiny_pipeline.size, 3), grey, np.uint8) for grey in (clean, attacked))
    labels = np.zeros(3, np.int64)
    engine = SimpleNamespace(infer=lambda batch: np.float32([[np.nan if image.max() > 0 else 2, 1] for image in batch]))
    target = Target(name="net", engine=engine, pipeline=tiny_pipeline, identity={})

    found = verdict(target, originals, adversarials, labels, condition="none", routes=[LOSSLESS])

    shares = {record.metric: record.value for record in found}
    assert (shares["clean_accuracy"], shares["robust_accuracy"]) == (float(clean == 0), 0)
