import pytest

from robustmq_trt.core.errors import InputError, UnsupportedError
from robustmq_trt.core.precision import Precision
from robustmq_trt.core.recipe import LayerRule, Recipe

FULL = """
precision = "w4a4"
keep_ends = false
[layers."/layer1/conv1/Conv"]
weights = 8
activations = 6
[layers."/linear/Gemm"]
float = true
"""


def test_a_recipe_reads_its_default_and_its_exceptions():
    recipe = Recipe.parse(FULL)

    assert recipe == Recipe(
        precision=Precision(weights=4, activations=4),
        keep_ends=False,
        layers={"/layer1/conv1/Conv": LayerRule(weights=8, activations=6), "/linear/Gemm": LayerRule(keep_float=True)},
    )
    assert recipe.float_layers == ("/linear/Gemm",)


def test_the_ends_stay_on_8_bits_unless_the_recipe_says_otherwise():
    assert Recipe.parse('precision = "w4a4"').keep_ends


def test_a_description_never_says_less_than_the_recipe_does():
    words = Recipe.parse(FULL).describe()

    assert words == (
        "4-bit weights, 4-bit activations: a 4-bit grid in int8 kernels; 1 layer on other bits; 1 layer in float"
    )


def test_at_8_bits_the_ends_are_nothing_special():
    assert Recipe.parse('precision = "w8a8"').describe() == "8-bit weights, 8-bit activations: int8 kernels"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("precision =", "TOML"),
        ("", "names no precision"),
        ("precision = 4", "names no precision"),
        ('precision = "w9a8"', "2..8"),
        ('precison = "w4a8"', "Did you mean 'precision'"),
        ('precision = "w4a8"\nkeep_ends = 1', "keep_ends"),
        ('precision = "w4a8"\nlayers = 3', "layers"),
        ('precision = "w4a8"\n[layers]\nconv = 3', "layer 'conv'"),
        ('precision = "w4a8"\n[layers.conv]\nweigths = 3', "layer 'conv'.*Did you mean 'weights'"),
        ('precision = "w4a8"\n[layers.conv]\nweights = 9', "Layer 'conv'.*`weights` in 2..8"),
        ('precision = "w4a8"\n[layers.conv]\nweights = true', "Layer 'conv'.*`weights`"),
        ('precision = "w4a8"\n[layers.conv]\nactivations = "4"', "Layer 'conv'.*`activations`"),
        ('precision = "w4a8"\n[layers.conv]\nfloat = "yes"', "`float` of layer 'conv'"),
        ('precision = "w4a8"\n[layers.conv]\nfloat = true\nweights = 4', "Layer 'conv'.*both"),
    ],
)
def test_a_recipe_that_breaks_a_rule_is_refused_by_that_rule(text, message):
    with pytest.raises(InputError, match=message):
        Recipe.parse(text)


@pytest.mark.parametrize("precision", ["fp32", "w4a16", "w8a16-b32"])
def test_what_int8_kernels_cannot_hold_is_refused(precision):
    with pytest.raises(UnsupportedError, match=precision):
        Recipe(precision=Precision.parse(precision))


def test_a_recipe_file_reads_like_its_text(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(FULL)

    assert Recipe.load(path) == Recipe.parse(FULL)


def test_a_missing_recipe_is_said(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        Recipe.load(tmp_path / "none.toml")
