"""`build`'s switches: remedies, 4-bit blocks, foreign ranges, layers in float; each does something and says so."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from robustmq_trt import assets
from robustmq_trt.cli.main import main
from robustmq_trt.core.files import sha256_file
from robustmq_trt.core.ranges import RangeTable

FEW = ("--calib-size", "8", "--threads", "1", "--quiet")


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    """Patches, LayerNormalization with outlier channels, two products and a head, on the embedded images."""
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N,3,64,64] x) => (float[N,10] logits) <int64[3] tokens = {0, 32, 64}> {
          c = Conv <strides = [8, 8]> (x, patch)
          r = Reshape (c, tokens)
          t = Transpose <perm = [0, 2, 1]> (r)
          n = LayerNormalization (t, gain, shift)
          a = MatMul (n, up)
          b = Relu (a)
          d = MatMul (b, down)
          m = ReduceMean <axes = [1], keepdims = 0> (d)
          logits = MatMul (m, head)
        }""")
    values = {
        "patch": rng.normal(size=(32, 3, 8, 8)) / 14,
        "gain": rng.lognormal(sigma=1.5, size=32),
        "shift": rng.normal(size=32),
        "up": rng.normal(size=(32, 64)) / 6,
        "down": rng.normal(size=(64, 32)) / 8,
        "head": rng.normal(size=(32, 10)),
    }
    model.graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), k) for k, v in values.items())
    path = tmp_path_factory.mktemp("transformer") / "tiny.onnx"
    onnx.save(model, path)
    return path


def activation_scales(path) -> dict:
    """The scalar float constants: one scale an activation."""
    stored = onnx.load(path).graph.initializer
    return {t.name: numpy_helper.to_array(t).item() for t in stored if t.data_type == 1 and not t.dims}


@pytest.fixture
def card(command, tmp_path):
    """Build with the options given; gives the engine's card."""

    def build(*options: object) -> dict:
        code, out, err = command("build", *options, *FEW, "--json", "-o", tmp_path)
        assert code == 0, err
        result = json.loads(out)
        return {**json.loads(Path(result["card"]).read_text()), "notes": result["notes"]}

    return build


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The cards of builds without any remedy flag, by precision."""
    folder = tmp_path_factory.mktemp("plain")
    for bits in ("8", "4"):
        assert main(["build", "--bits", bits, *FEW, "-o", str(folder)]) == 0
    return {name: json.loads((folder / f"embedded.{name}.onnx.card.json").read_text()) for name in ("w8a8", "w4a4")}


@pytest.mark.parametrize(
    "options",
    [
        ("--equalise",),
        ("--bias-correction",),
        ("--rounding", "mse"),
        ("--bits", "4", "--rounding", "gptq"),
        ("--bits", "4", "--no-compensate"),
        ("--bits", "4", "--no-bias-correction"),
    ],
)
def test_every_remedy_changes_the_engine_and_stands_in_its_card(card, plain, options):
    remedied = card(*options)

    before = plain[remedied["precision"]]
    assert remedied["sha256"] != before["sha256"]
    assert remedied["recipe"]["remedies"] != before["recipe"]["remedies"]
    assert remedied["audit"]["integer_coverage"] == 1.0
    assert remedied["parents"]["model"] == before["parents"]["model"]


def test_a_recipe_s_keys_are_the_flags(card, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('precision = "w4a8"\nequalise = true\nrounding = "mse"\nbias_correction = false\n')

    from_flags = card("--weights", "4", "--equalise", "--rounding", "mse", "--no-bias-correction")
    from_file = card("--recipe", recipe)

    assert from_file["sha256"] == from_flags["sha256"]
    assert from_file["recipe"]["remedies"] == from_flags["recipe"]["remedies"]


def test_smoothing_a_transformer_flattens_the_activation_behind_its_norm(card, transformer, tmp_path):
    own = ("--calib", assets.images_dir("calib"))
    plain = card(transformer, *own)
    before = RangeTable.load(tmp_path / plain["recipe"]["calibration"]["ranges"]).ranges["n"]
    smoothed = card(transformer, *own, "--smooth", "0.5")
    after = RangeTable.load(tmp_path / smoothed["recipe"]["calibration"]["ranges"]).ranges["n"]

    assert smoothed["recipe"]["remedies"]["smooth"] == 0.5
    assert "smoothed 1 LayerNormalizations" in smoothed["notes"]
    assert after[1] - after[0] < (before[1] - before[0]) / 2


def test_int4_blocks_come_in_both_spellings_and_claim_no_integers(command, transformer, tmp_path):
    code, out, _ = command("build", transformer, "--int4-blocks", "32", "-o", tmp_path, "--quiet", "--json")
    result = json.loads(out)
    native, canonical = (onnx.load(result[key]) for key in ("path", "canonical"))

    assert code == 0
    assert (result["precision"], result["integer_coverage"]) == ("w4a16-b32", 0.0)
    assert [node.op_type for node in native.graph.node].count("MatMulNBits") == 3
    assert {helper.get_attribute_value(a) for n in canonical.graph.node for a in n.attribute if a.name == "block_size"}
    assert next(entry.version for entry in canonical.opset_import if entry.domain == "") >= 21
    assert result["calibration"] is None


def test_int4_blocks_with_int8_activations_are_integer_products(card, transformer):
    built = card(transformer, "--int4-blocks", "32", "--activations", "8", "--rounding", "mse")

    assert built["precision"] == "w4a8-b32"
    assert built["recipe"]["remedies"]["rounding"] == "mse"
    assert built["audit"]["integer_coverage"] > 0


def test_half_precision_is_half_the_size_and_no_integers(card, engines):
    built = card("--precision", "fp16")

    assert (built["kind"], built["precision"]) == ("float", "fp16")
    assert built["audit"]["integer_coverage"] == 0
    assert built["size_bytes"] < 0.6 * (engines / "embedded.fp32.onnx").stat().st_size


def test_another_tool_s_cache_is_read_and_named_as_a_parent(card, engines, tmp_path):
    ours = RangeTable.load(engines / "embedded.w8a8.ranges.json")
    cache = tmp_path / "calibration.json"
    cache.write_text(json.dumps({name: [*bounds] for name, bounds in ours.ranges.items()}))

    built = card("--ranges", cache)

    assert built["parents"]["ranges"] == sha256_file(cache)
    assert built["recipe"]["calibration"]["format"] == "onnxruntime-json"
    assert any("does not say of which model" in note for note in built["notes"])
    assert activation_scales(tmp_path / built["file"]) == activation_scales(engines / "embedded.w8a8.onnx")


def test_layers_are_kept_in_float_until_the_drop_is_ruled_out(card):
    built = card(
        "--weights", "2", "--rounding", "nearest", "--keep-float", "auto", "--max-drop", "8", "--images", "100"
    )

    search = built["recipe"]["keep_float"]
    assert search["met"]
    assert search["nodes"] == built["recipe"]["float_layers"] != []
    assert search["steps"][0]["low"] < -0.08 <= min(s["low"] for s in search["steps"] if s["accepted"])
    assert (search["n"], search["attacks"]) == (100, [])
    assert 0 < built["audit"]["integer_coverage"] < 1
    assert any("judged" in note for note in built["notes"])


def test_a_drop_under_attack_is_searched_on_attacked_images(card):
    built = card("--keep-float", "auto", "--max-drop", "9", "--images", "60", "--attack", "fgsm:eps=1")

    search = built["recipe"]["keep_float"]
    assert search["attacks"] == ["fgsm:eps=1"]
    assert search["reference"] < 0.9  # clean it is 0.95


def test_layers_can_be_named_too(card):
    assert card("--keep-float", "stem,logits")["recipe"]["float_layers"] == ["stem", "logits"]


@pytest.mark.parametrize(
    ("options", "name", "opened"),
    [
        (("--activations", "16"), "w8a16", ""),
        (("--precision", "fp8"), "fp8", "simulation:"),
    ],
)
def test_an_export_runs_in_float_and_says_so(command, tmp_path, options, name, opened):
    code, out, err = command("build", *options, *FEW, "-o", tmp_path, "--json")

    assert code == 0, err
    result = json.loads(out)
    assert (result["precision"], result["integer_coverage"]) == (name, 0.0)
    assert any(note.startswith(f"{name} is an export") for note in result["notes"])
    assert command("audit", f"{opened}{result['path']}")[0] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--smooth", "0.5"), "No LayerNormalization"),
        (("--smooth", "2"), "0..1"),
        (("--keep-float", "auto"), "--max-drop POINTS"),
        (("--max-drop", "2"), "belongs to --keep-float auto"),
        (("--data", "images"), "belongs to --keep-float auto"),
        (("--keep-float", "auto", "--max-drop", "0"), "between 0 and 100"),
        (("--keep-float", "auto", "--max-drop", "2", "--surrogate", "m.onnx"), "--attack"),
        (("--keep-float", "auto", "--max-drop", "2", "--attack", "square"), "transfer attack"),
        (("--keep-float", "auto", "--max-drop", "2", "--images", "100"), "at least 183"),
        (("--keep-float", "stm"), "Did you mean 'stem'"),
        (("--compensate", "--rounding", "mse"), "nothing to compensate"),
        (("--int4-blocks", "32", "--bits", "8"), "4 bits"),
        (("--int4-blocks", "32", "--equalise"), "no other remedy"),
        (("--int4-blocks", "32", "--profile", "trt-s8"), "Leave them out"),
        (("--int4-blocks", "32", "--rounding", "gptq"), "nearest and mse"),
        (("--int4-blocks", "128"), "Choose another block"),
        (("--recipe", "recipe.toml", "--bits", "4"), "states the bits"),
        (("--precision", "fp16", "--bits", "8"), "states the bits"),
        (("--precision", "fp16", "--equalise"), "no other remedy"),
        (("--precision", "fp8", "--equalise"), "no other remedy"),
        (("--precision", "w4a16"), "2..8 bits"),
        (("--activations", "16", "--weights", "4"), "2..8"),
        (("--activations", "16", "--profile", "trt-s8"), "Leave them out"),
        (("--precision", "fp32"), "fp32"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(refused, tmp_path, options, words):
    assert words in refused("build", *options, *FEW, "-o", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_ranges_of_the_network_before_equalisation_are_refused(refused, engines, tmp_path):
    table = engines / "embedded.w8a8.ranges.json"
    foreign = tmp_path / "calibration.json"
    foreign.write_text(json.dumps({"input": [-1, 1]}))

    assert "observed on another model" in refused("build", "--ranges", table, "--equalise", "-o", tmp_path)
    assert "as it was" in refused("build", "--ranges", foreign, "--equalise", "-o", tmp_path)
    assert "pass --calib DIR too" in refused("build", "--ranges", table, "--bias-correction", "-o", tmp_path)
