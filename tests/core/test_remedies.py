"""Remedies: the defaults of each width, flags before the file's keys, and what makes no sense."""

import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.core.recipe import Recipe
from robustmq_trt.core.remedies import Remedies


def test_below_8_bits_everything_known_to_help_is_the_default():
    chosen = Remedies().for_width(narrow=True, images=True)

    assert (chosen.rounding, chosen.compensate, chosen.bias_correction) == ("refined", True, True)


@pytest.mark.parametrize(("narrow", "images"), [(False, True), (True, False)])
def test_at_8_bits_and_without_images_weights_are_rounded_to_the_nearest(narrow, images):
    chosen = Remedies().for_width(narrow=narrow, images=images)

    assert (chosen.rounding, chosen.compensate, chosen.bias_correction) == ("nearest", False, False)
    assert not chosen.for_weights


def test_what_was_asked_for_stays():
    asked = Remedies(rounding="mse", bias_correction=False, equalise=True, smooth=0.25)

    chosen = asked.for_width(narrow=True, images=True)

    assert (chosen.rounding, chosen.compensate, chosen.bias_correction) == ("mse", False, False)
    assert (chosen.equalise, chosen.smooth) == (True, 0.25)


def test_compensation_alone_brings_the_rounding_it_needs():
    assert Remedies(compensate=True).for_width(narrow=False, images=True).rounding == "gptq"


def test_a_flag_goes_before_the_file_s_key_and_the_rest_stays():
    file = Remedies(rounding="gptq", smooth=0.5, bias_correction=True)

    assert Remedies(bias_correction=False, rounding="mse").over(file) == Remedies(
        rounding="mse", smooth=0.5, bias_correction=False
    )


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("smooth", 1.5, "0..1"),
        ("smooth", True, "0..1"),
        ("rounding", "nearst", "Did you mean 'nearest'"),
        ("equalise", 1, "true or false"),
        ("bias_correction", "yes", "true or false"),
    ],
)
def test_values_that_are_none_are_refused(key, value, word):
    with pytest.raises(InputError, match=word):
        Remedies(**{key: value})


def test_compensation_of_a_rounding_that_sees_no_inputs_is_refused():
    with pytest.raises(InputError, match="nothing to compensate"):
        Remedies(compensate=True, rounding="mse")


def test_a_recipe_holds_remedies_and_4_bit_blocks():
    recipe = Recipe.parse('precision = "w4a4"\nequalise = true\nrounding = "gptq"\ncompensate = false')
    blocks = Recipe.parse('precision = "w4a16-b32"\nrounding = "mse"\n[layers.head]\nfloat = true')

    assert recipe.remedies == Remedies(equalise=True, rounding="gptq", compensate=False)
    assert (recipe.on_grids, blocks.on_grids) == (True, False)
    assert blocks.float_layers == ("head",)


@pytest.mark.parametrize(
    "text",
    ["smooth = 0.5", "equalise = true", 'rounding = "gptq"', "bias_correction = true", "[layers.head]\nweights = 8"],
)
def test_blocks_refuse_what_needs_a_grid_per_channel(text):
    with pytest.raises(InputError, match=r"w4a16-b32"):
        Recipe.parse(f'precision = "w4a16-b32"\n{text}')
