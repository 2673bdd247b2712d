"""The walk over the layers: what each switch does, and that the float model stays what it was."""

from dataclasses import replace

import numpy as np
import pytest

from robustmq_trt.calib.fake_quant import Grid, on_grids, with_weights
from robustmq_trt.calib.layers import initializer, weighted_layers
from robustmq_trt.calib.prefix import runner
from robustmq_trt.calib.weight_scales import mse_codes
from robustmq_trt.calib.weights import WeightRecipe, choose_weights
from robustmq_trt.core.codes import round_to_nearest
from robustmq_trt.core.errors import InputError

PLAIN = WeightRecipe(bits=3, method="nearest", refine=False, compensate=False, bias_correction=False)
FULL = WeightRecipe(bits=3)


@pytest.fixture
def batches(rng):
    # smooth images, so that neighbouring inputs are correlated as in photographs
    noise = rng.normal(size=(96, 2, 8, 8))
    smooth = sum(noise[:, :, i : i + 6, j : j + 6] for i in range(3) for j in range(3)) / 3
    return lambda: np.split(smooth.astype(np.float32), 6)


def logit_error(model, chosen, batches, grids=None) -> float:
    plain = runner(model, "logits")
    other = runner(with_weights(on_grids(chosen.model, grids or {}), chosen.codes), "logits")
    return float(np.mean([np.square(other(batch) - plain(batch)).mean() for batch in batches()]))


def test_each_remedy_lowers_the_error_of_the_logits(layered_model, batches):
    recipes = {
        "nearest": PLAIN,
        "gptq": replace(PLAIN, method="gptq", refine=True),
        "full": FULL,
    }

    errors = {
        name: logit_error(layered_model, choose_weights(layered_model, batches, recipe=recipe), batches)
        for name, recipe in recipes.items()
    }

    assert errors["full"] < errors["gptq"] < errors["nearest"]
    assert errors["full"] < errors["nearest"] / 4


def test_nearest_and_mse_need_no_image(layered_model):
    def none():
        raise AssertionError("asked for images")

    for method, choose in {"nearest": round_to_nearest, "mse": mse_codes}.items():
        chosen = choose_weights(layered_model, none, recipe=replace(PLAIN, method=method))

        for layer in weighted_layers(layered_model):
            expected = choose(initializer(layered_model, layer.weight), 3, 0)
            np.testing.assert_array_equal(chosen.codes[layer.weight].codes, expected.codes)
        assert chosen.model == layered_model


def test_bias_correction_restores_the_mean_of_every_layer(layered_model, batches):
    chosen = choose_weights(layered_model, batches, recipe=replace(PLAIN, bias_correction=True))
    rounded = with_weights(chosen.model, chosen.codes)

    for layer in weighted_layers(layered_model):
        before, after = (
            np.concatenate([runner(model, layer.output)(batch) for batch in batches()])
            for model in (layered_model, rounded)
        )
        axes = tuple(axis for axis in range(before.ndim) if axis != 1)
        np.testing.assert_allclose(after.mean(axis=axes), before.mean(axis=axes), atol=1e-4)


def test_the_codes_make_up_for_the_grids_of_activations(layered_model, batches):
    grids = {name: Grid(low=0, high=6, bits=3) for name in ("h", "e", "q")}

    aware = choose_weights(layered_model, batches, recipe=FULL, grids=grids)
    blind = choose_weights(layered_model, batches, recipe=FULL)

    assert logit_error(layered_model, aware, batches, grids) < logit_error(layered_model, blind, batches, grids)


def test_the_result_does_not_depend_on_threads(layered_model, batches):
    one, two = (choose_weights(layered_model, batches, recipe=FULL, threads=threads) for threads in (1, 2))

    assert one.model == two.model
    for name, codes in one.codes.items():
        np.testing.assert_array_equal(codes.codes, two.codes[name].codes)
        np.testing.assert_array_equal(codes.scales, two.codes[name].scales)


def test_layers_may_have_widths_of_their_own(layered_model, batches):
    seen = []
    chosen = choose_weights(
        layered_model,
        batches,
        recipe=replace(FULL, overrides={"w1": 8}),
        progress=lambda done, total: seen.append((done, total)),
    )

    assert {name: codes.bits for name, codes in chosen.codes.items()} == {"w1": 8, "w2": 3, "w3": 3, "w4": 3}
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_weight_shared_by_two_layers_gets_one_set_of_codes(layered_model, batches):
    second = layered_model.graph.node[2]
    second.input[1] = "w1"
    next(attribute for attribute in second.attribute if attribute.name == "group").i = 2

    chosen = choose_weights(layered_model, batches, recipe=FULL)

    assert [layer.weight for layer in weighted_layers(layered_model)] == ["w1", "w1", "w3", "w4"]
    assert list(chosen.codes) == ["w1", "w3", "w4"]


def test_a_weight_that_stays_in_float_gets_no_codes_and_its_layer_keeps_its_bias(layered_model, batches):
    chosen = choose_weights(layered_model, batches, recipe=replace(FULL, keep={"w2"}))

    assert list(chosen.codes) == ["w1", "w3", "w4"]
    np.testing.assert_array_equal(initializer(chosen.model, "b2"), initializer(layered_model, "b2"))
    assert (initializer(chosen.model, "b3") != initializer(layered_model, "b3")).any()


def test_an_unknown_method_is_refused(layered_model, batches):
    with pytest.raises(InputError, match="gptq"):
        choose_weights(layered_model, batches, recipe=replace(FULL, method="gtpq"))
