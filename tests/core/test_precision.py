import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustmq_trt.core.errors import InputError
from robustmq_trt.core.precision import Precision


@given(st.integers(2, 8), st.sampled_from([2, 3, 4, 5, 6, 7, 8, 16, 32]), st.sampled_from([None, 32, 64, 128]))
def test_every_precision_prints_as_it_parses(weights, activations, block):
    precision = Precision(weights=weights, activations=activations, block=block)

    assert Precision.parse(str(precision)) == precision


@pytest.mark.parametrize("text", ["fp32", "fp16", "fp8"])
def test_float_precisions_print_as_they_parse(text):
    assert str(Precision.parse(text)) == text


@pytest.mark.parametrize("text", ["", "w8", "w9a8", "w1a8", "w8a9", "int8", "w8a8-b", "w4a16-b0", "W8A8", "w8a8 "])
def test_what_is_no_precision_is_refused(text):
    with pytest.raises(InputError, match="Expected"):
        Precision.parse(text)


@pytest.mark.parametrize("bits", [0, 1, 9, 16, -8])
def test_unknown_bits_are_refused(bits):
    with pytest.raises(InputError, match=r"`--bits` in 2\.\.8"):
        Precision.from_bits(bits)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("w8a8", "int8 kernels"),
        ("w4a4", "a 4-bit grid in int8 kernels"),
        ("w4a16-b32", "float compute (weight-only)"),
        ("w8a16", "16-bit integer activations, float compute"),
        ("fp8", "float compute where no FP8 kernel runs"),
        ("fp32", "32-bit floating point"),
    ],
)
def test_description_claims_no_more_than_what_runs(text, words):
    description = Precision.parse(text).describe()

    assert description.endswith(words)
    assert "INT4" not in description
