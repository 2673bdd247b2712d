import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from robustmq_trt.core.errors import InputError
from robustmq_trt.export.block_codes import BlockCodes, block_codes, pack_blocks, pack_nibbles


@pytest.fixture
def weight(rng: np.random.Generator) -> np.ndarray:
    return (rng.normal(size=(128, 24)) * rng.uniform(0.1, 10, size=(1, 24))).astype(np.float32)


@given(seed=st.integers(0, 999), bits=st.sampled_from([4, 8]), block=st.sampled_from([2, 16, 32]))
@settings(max_examples=30, deadline=None)
def test_no_weight_moves_by_more_than_half_a_step(seed: int, bits: int, block: int) -> None:
    weight = np.random.default_rng(seed).standard_t(2, size=(64, 5)).astype(np.float32)

    codes = block_codes(weight, block=block, bits=bits)

    steps = np.repeat(codes.scales, block, axis=0)
    assert (np.abs(codes.values() - weight) <= steps * 0.50001).all()
    assert np.abs(codes.codes.astype(int)).max() <= 2 ** (bits - 1) - 1


def test_a_block_has_the_scale_of_its_own_largest_magnitude(weight: np.ndarray) -> None:
    codes = block_codes(weight, block=32)

    expected = [[np.abs(weight[32 * i : 32 * i + 32, n]).max() / 7 for n in range(24)] for i in range(4)]
    np.testing.assert_allclose(codes.scales, expected, rtol=1e-6)


def test_half_a_level_is_rounded_to_even() -> None:
    weight = np.float32([7, 0.5, 1.5, -2.5]).reshape(4, 1)

    assert block_codes(weight, block=4).codes.ravel().tolist() == [7, 0, 2, -2]


def test_a_block_of_zeros_stays_zero_with_a_scale_of_one() -> None:
    codes = block_codes(np.zeros((32, 2), np.float32), block=16, scale="mse")

    assert not codes.codes.any()
    assert (codes.scales == 1).all()


def test_the_mse_scale_errs_less_in_every_block_and_clips_only(weight: np.ndarray) -> None:
    def errors(codes: BlockCodes) -> np.ndarray:
        return np.square(codes.values() - weight).reshape(4, 32, 24).sum(axis=1)

    largest, best = (block_codes(weight, block=32, scale=scale) for scale in ("max", "mse"))

    assert (errors(best) <= errors(largest) * (1 + 1e-6)).all()
    assert errors(best).sum() < 0.97 * errors(largest).sum()
    assert (best.scales <= largest.scales).all()


def test_nibbles_are_those_of_an_onnx_int4_tensor() -> None:
    codes = np.arange(-8, 8, dtype=np.int8)

    tensor = helper.make_tensor("w", TensorProto.INT4, [16], pack_nibbles(codes).tobytes(), raw=True)

    np.testing.assert_array_equal(numpy_helper.to_array(tensor).astype(np.int8), codes)


def test_packed_blocks_have_the_layout_of_onnx_runtimes_own_quantizer(weight: np.ndarray) -> None:
    import onnxruntime

    quantize = getattr(onnxruntime.capi._pybind_state, "quantize_matmul_4bits", None)
    if quantize is None:
        pytest.skip("this ONNX Runtime does not expose its 4-bit quantizer")
    packed, scales = np.zeros((24, 4, 16), np.uint8), np.zeros(24 * 4, np.float32)
    quantize(packed, weight, scales, np.zeros(24 * 2, np.uint8), 32, 24, 128, True)
    halves = np.stack([packed & 15, packed >> 4], axis=-1).reshape(24, 4, 32)
    codes = (halves.astype(np.int8) - 8).reshape(24, 128).T

    ours = BlockCodes(codes=codes, scales=np.ascontiguousarray(scales.reshape(24, 4).T), block=32, bits=4)

    np.testing.assert_array_equal(pack_blocks(ours), packed)
    assert np.abs(ours.values() - weight).max() <= np.abs(scales).max()  # its codes read our way are the weights


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("block", [16, 32, 64, 128])
def test_onnx_runtime_reads_the_packed_weights_as_their_values(weight: np.ndarray, bits: int, block: int) -> None:
    import onnxruntime

    codes = block_codes(weight, block=block, bits=bits)
    sizes = {"K": 128, "N": 24, "bits": bits, "block_size": block}
    node = helper.make_node("MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", **sizes)
    packed = [(pack_blocks(codes), "w"), (np.ascontiguousarray(codes.scales.T), "s")]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    stored = [numpy_helper.from_array(*pair) for pair in packed]
    graph = helper.make_graph([node], "product", values[:1], values[1:], stored)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    (product,) = session.run(None, {"x": np.eye(128, dtype=np.float32)})

    np.testing.assert_array_equal(product, codes.values())


@pytest.mark.parametrize(
    ("change", "part"),
    [({"scale": "best"}, "'best'"), ({"block": 48}, "got 48"), ({"block": 0}, "got 0"), ({"bits": 9}, "got 9")],
)
def test_settings_that_do_not_exist_are_refused(weight: np.ndarray, change: dict[str, object], part: str) -> None:
    with pytest.raises(InputError, match=part):
        block_codes(weight, **{"block": 32, **change})  # type: ignore[arg-type]  # wrong on purpose


def test_a_weight_that_is_not_finite_is_refused(weight: np.ndarray) -> None:
    weight[3, 4] = np.nan

    with pytest.raises(InputError, match="finite"):
        block_codes(weight, block=32)
