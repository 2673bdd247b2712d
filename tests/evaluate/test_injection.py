"""Attacks on the picture itself: the bound holds for it, and what the engine sees of it is what decides."""

import json

import cv2
import numpy as np
import pytest

from robustmq_trt import assets
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.evaluate.attacks.catalog import ATTACKS, parse_attack, strength
from robustmq_trt.evaluate.attacks.protocol import Goal
from robustmq_trt.evaluate.corruptions.jpeg import encode
from robustmq_trt.evaluate.injection import JPEG_QUALITY, Injected, Way, injection_of
from robustmq_trt.evaluate.oracle import Oracle
from robustmq_trt.evaluate.scheduler import run_attacks
from robustmq_trt.inputs.catalog import find_preset

SIZE = (32, 32)


def picture(height=120, width=97, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return np.ascontiguousarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))


def pipeline(preset="torchvision"):
    return find_preset(preset).for_size(*SIZE)


@pytest.mark.parametrize(
    "preset", ["torchvision", "opencv-linear", "opencv-area", "yolo-letterbox", "tflite-mobilenet"]
)
@pytest.mark.parametrize("shape", [(96, 160), (160, 96), (77, 131)])
def test_a_pixel_falls_where_the_preset_takes_it(preset, shape):
    """Independent of the formula: along a ramp, a row of the model shows the mean of the rows that fall into it."""
    chosen = pipeline(preset)
    for axis, places in enumerate(chosen.places(shape)):
        ramp = np.linspace(20, 235, shape[axis])
        image = np.repeat(np.expand_dims(ramp, 1 - axis), shape[1 - axis], axis=1 - axis)
        seen = chosen.load(np.repeat(image.round().astype(np.uint8)[..., None], 3, axis=2))
        middle = seen.take(SIZE[1 - axis] // 2, axis=1 - axis)[:, 0]
        means = {place: ramp[places == place].mean() for place in np.unique(places[places >= 0])}

        assert places.shape == (shape[axis],)
        assert (np.diff(places[places >= 0]) >= 0).all()
        step = 215 / len(means)
        for place, mean in list(means.items())[1:-1]:  # the ends see the border
            assert abs(float(middle[place]) - mean) <= 0.6 * step + 1


@pytest.mark.parametrize("injection", ["source", "jpeg"])
def test_a_change_reaches_the_engine_and_keeps_the_bound(injection):
    stored = picture()
    way = Way(stored, pipeline(), injection)
    model = pipeline().load(stored)
    attacked = model.astype(np.int16)
    attacked[8:24, 8:24] += 8
    sent = way.changed(np.clip(attacked, 0, 255).astype(np.uint8))
    moved = sent.astype(int) - stored

    assert sent.shape == stored.shape
    assert moved.min() == 0
    assert moved.max() == 8
    change = way.seen(sent).astype(int) - way.seen(stored)
    assert change[10:22, 10:22].mean() == pytest.approx(8, abs=1)
    assert abs(change[:6].mean()) < 0.5


def test_no_change_leaves_the_picture_and_what_is_cut_off_is_never_touched():
    stored = picture(200, 90)
    way = Way(stored, pipeline(), "source")
    rows, columns = pipeline().places((200, 90))

    assert np.array_equal(way.changed(pipeline().load(stored)), stored)
    moved = way.changed(np.full((*SIZE, 3), 255, np.uint8)) != stored
    assert (rows < 0).any()
    assert not moved[rows < 0].any()
    assert not moved[:, columns < 0].any()


def test_the_engine_sees_what_the_deployment_makes_of_the_file():
    stored = picture()
    file = cv2.imencode(".png", cv2.cvtColor(stored, cv2.COLOR_RGB2BGR))[1].tobytes()

    assert np.array_equal(Way(file, pipeline(), "source").picture, stored)
    assert np.array_equal(Way(file, pipeline(), "source").seen(stored), pipeline().load(file))
    sent = encode(stored, JPEG_QUALITY).tobytes()
    assert np.array_equal(Way(file, pipeline(), "jpeg").seen(stored), pipeline().load(sent))


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    return open_engine(assets.model_path(), threads=1)


@pytest.mark.parametrize("injection", ["source", "jpeg"])
@pytest.mark.parametrize("name", ["square", "linear", "signhunter", "rays", "adba", "hopskipjump", "nes", "prgf"])
def test_every_attack_keeps_its_word_about_the_picture(embedded, name, injection):
    condition = parse_attack(f"{name}:eps=12,queries=60,inject={injection}")
    entry, attack = ATTACKS[name], ATTACKS[name].make(dict(condition.settings))
    chosen = find_preset("torchvision").for_size(embedded.spec.height, embedded.spec.width)
    ways = [Way(picture(seed=seed), chosen, injection) for seed in range(4)]
    shown = np.stack([chosen.load(way.picture) for way in ways])
    labels = embedded.infer(chosen.tensor(shown)).argmax(axis=1)
    oracle = Oracle(embedded, chosen, batch=3, budget=60, score_access="label" if entry.needs == "labels" else "logits")
    states = [
        Injected(attack.begin(image, Goal(int(label)), image_stream(0, name, str(i))), way)
        for i, (image, label, way) in enumerate(zip(shown, labels, ways, strict=True))
    ]

    results = run_attacks(states, oracle)

    delivered = np.stack([result.adversarial for result in results])
    assert [result.success for result in results] == list(embedded.infer(chosen.tensor(delivered)).argmax(1) != labels)
    assert all(result.linf <= 12 and result.queries <= 60 for result in results)


def test_another_place_is_another_threat():
    source = parse_attack("square:eps=8,queries=10,inject=source")

    assert source.label == "square:eps=8,queries=10,inject=source"
    assert strength(source) == "eps=8,inject=source"
    assert injection_of(source) == "source"
    assert injection_of(parse_attack("square:eps=8")) == "model"
    assert strength(parse_attack("square:inject=jpeg,goal=targeted")) == "eps=8,goal=targeted,inject=jpeg"


def test_a_run_attacks_stored_pictures(tmp_path, capsys):
    from robustmq_trt.cli.main import main

    argv = ["evaluate", str(assets.model_path()), "--data", str(assets.images_dir("eval")), "--images", "12"]
    attacks = [f"square:eps=16,queries=80{place}" for place in ("", ",inject=source", ",inject=jpeg")]
    argv += [word for attack in attacks for word in ("--attack", attack)]

    assert main([*argv, "--survival", "--latency", "0", "--json", "--quiet", "-o", str(tmp_path)]) == 0

    document = json.loads(capsys.readouterr().out)
    worst = {r["condition"] for r in document["records"] if r["condition"].startswith("worst-case")}
    conditions = {r["condition"] for r in document["records"]}
    assert set(attacks) <= conditions
    assert f"{attacks[0]} via jpeg:95" in conditions
    assert f"{attacks[1]} via jpeg:95" not in conditions
    assert not any("inject" in name for name in worst)  # one attack is no worst case
