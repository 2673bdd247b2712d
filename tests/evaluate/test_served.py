"""Files are decoded once, equal pixels asked once, and whatever fails is told with its reason."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from robustmq_trt import assets
from robustmq_trt.core.errors import InputError, TargetChangedError, UnsupportedError
from robustmq_trt.evaluate.chunk import Chunk
from robustmq_trt.evaluate.corruptions.jpeg import encode
from robustmq_trt.evaluate.decoded_sets import DecodedOnce, Way, prepared_batches
from robustmq_trt.evaluate.finished_cells import FinishedCells
from robustmq_trt.evaluate.served import NO_ANSWER, serve
from robustmq_trt.evaluate.systematic import grid_ways
from robustmq_trt.inputs import pipeline as pipeline_module
from robustmq_trt.inputs.dataset import Sample
from robustmq_trt.inputs.loader import load_images
from robustmq_trt.inputs.sources import open_dataset


@pytest.fixture(scope="module")
def photos():
    return open_dataset(assets.images_dir("eval")).subset(12, 0)


@pytest.fixture
def decodings(monkeypatch):
    """The decoders that were called, in order."""
    called = []
    original = pipeline_module.decode

    def counted(content, **how):
        called.append(how["decoder"])
        return original(content, **how)

    monkeypatch.setattr(pipeline_module, "decode", counted)
    return called


def test_every_file_is_decoded_once_for_each_decoder(photos, tiny_pipeline, decodings):
    ways = grid_ways(tiny_pipeline)

    list(prepared_batches(photos, ways, batch=5, threads=2))

    decoders = {way.pipeline.decoder for way in ways}
    assert len(ways) == 11 * len(decoders)
    assert sorted(decodings) == sorted([*decoders] * len(photos))


def test_sharing_the_decoder_changes_no_pixel(photos, tiny_pipeline):
    ways = grid_ways(tiny_pipeline)

    batches = list(prepared_batches(photos, ways, batch=5, threads=2))

    for way in ways:
        shared = np.concatenate([batch.images[way.name] for batch in batches])
        np.testing.assert_array_equal(shared, load_images(photos, way.pipeline, threads=1).images)


def test_a_reduced_decoding_is_shared_with_no_other_geometry(photos, tiny_pipeline):
    reduced = replace(tiny_pipeline, reduced_decoding=True)
    ways = [
        Way(name="whole", pipeline=tiny_pipeline),
        Way(name="small", pipeline=reduced),
        Way(name="large", pipeline=replace(reduced, crop_fraction=0.25)),
    ]

    (batch,) = prepared_batches(photos, ways, batch=12, threads=1)

    for way in ways:
        np.testing.assert_array_equal(batch.images[way.name], load_images(photos, way.pipeline, threads=1).images)


def test_a_chunk_decodes_its_files_once_for_all_presets_of_a_decoder(photos, tiny_pipeline, decodings):
    chunk = Chunk(first=0, dataset=photos)
    presets = [tiny_pipeline, replace(tiny_pipeline, resize="opencv-area"), replace(tiny_pipeline, decoder="opencv")]

    loaded = [chunk.load(preset) for preset in presets]

    assert sorted(decodings) == ["opencv"] * 12 + ["pillow"] * 12
    for preset, found in zip(presets, loaded, strict=True):
        whole = load_images(photos, preset, threads=1)
        np.testing.assert_array_equal(found.images, whole.images)
        assert found.hashes == whole.hashes


def test_pixels_beyond_the_cap_are_not_kept(photos, tiny_pipeline, decodings):
    first = photos.samples[0]
    size = tiny_pipeline.decode(first.read()).nbytes
    decodings.clear()
    kept = DecodedOnce(replace(photos, samples=(first, *photos.samples)), cap_bytes=size)

    dataset = kept.dataset(tiny_pipeline, threads=2)

    assert [isinstance(sample.source, np.ndarray) for sample in dataset.samples[:2]] == [True, False]
    assert kept.dataset(tiny_pipeline, threads=2) is dataset
    assert len(decodings) == 13
    assert dataset.manifest == kept.dataset(replace(tiny_pipeline, reduced_decoding=True), threads=1).manifest


def test_a_file_that_does_not_decode_still_fails_with_its_reason(tiny_pipeline, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "bad.png").write_bytes(b"no")

    (row,) = Chunk(first=0, dataset=open_dataset(tmp_path)).load(tiny_pipeline).invalid

    assert (row.name, row.valid) == ("a/bad.png", False)
    assert row.reason


def test_a_quality_stores_the_decoded_image_once_more(photos, tiny_pipeline):
    (batch,) = prepared_batches(photos, [Way(name="q", pipeline=tiny_pipeline, quality=10)], batch=12, threads=1)

    first = cv2.imdecode(np.frombuffer(photos.samples[0].read(), np.uint8), cv2.IMREAD_COLOR_RGB)
    stored = cv2.imdecode(encode(first, 10), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(batch.images["q"][0], tiny_pipeline.load(stored))


def test_equal_pixels_are_asked_once_and_get_the_same_answers(photos, tiny_pipeline, pixel_target):
    ways = [
        Way(name="a", pipeline=tiny_pipeline),
        Way(name="same", pipeline=replace(tiny_pipeline, decoder="opencv")),
        Way(name="other", pipeline=replace(tiny_pipeline, resize="opencv-nearest")),
    ]
    target = pixel_target("pixel", tiny_pipeline)

    found = serve(photos, ways, [target])

    assert target.engine.shown == 2 * len(photos)
    assert found.pixels["a"] == found.pixels["same"] != found.pixels["other"]
    np.testing.assert_array_equal(found.answers["pixel", "a"], found.answers["pixel", "same"])
    assert found.ways == ["a", "same", "other"]


def test_an_image_that_one_way_cannot_prepare_is_left_out_of_all(tiny_pipeline, tmp_path, pixel_target):
    for name, content in (("a/good.png", cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1]), ("a/bad.png", b"no")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(content))
    ways = [Way(name="a", pipeline=tiny_pipeline), Way(name="b", pipeline=tiny_pipeline, quality=50)]

    found = serve(open_dataset(tmp_path), ways, [pixel_target("pixel", tiny_pipeline)])

    assert found.names == ("a/good.png",)
    assert [failure.sample.name for failure in found.failures] == ["a/bad.png"]
    assert found.failures[0].reason


def test_a_set_without_a_readable_image_is_refused(tiny_pipeline, tmp_path, pixel_target):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "bad.png").write_bytes(b"no")

    with pytest.raises(InputError, match="No image"):
        serve(open_dataset(tmp_path), [Way(name="a", pipeline=tiny_pipeline)], [pixel_target("pixel", tiny_pipeline)])


def test_a_way_whose_package_is_missing_is_told_and_the_others_run(photos, tiny_pipeline, monkeypatch, pixel_target):
    original = pipeline_module.decode

    def without_opencv(content, **how):
        if how["decoder"] == "opencv":
            raise UnsupportedError("Install it.")
        return original(content, **how)

    monkeypatch.setattr(pipeline_module, "decode", without_opencv)
    gone = Way(name="gone", pipeline=replace(tiny_pipeline, decoder="opencv"))

    found = serve(photos, [Way(name="here", pipeline=tiny_pipeline), gone], [pixel_target("pixel", tiny_pipeline)])

    assert (found.ways, dict(found.missing)) == (["here"], {"gone": "Install it."})
    with pytest.raises(InputError, match="Install it"):
        serve(photos, [gone], [pixel_target("pixel", tiny_pipeline)])


def test_an_engine_that_breaks_is_told_and_the_others_go_on(photos, tiny_pipeline, pixel_target):
    targets = [pixel_target("sound", tiny_pipeline), pixel_target("broken", tiny_pipeline, fail=True)]

    found = serve(photos, [Way(name="a", pipeline=tiny_pipeline)], targets)

    assert dict(found.broken) == {"broken": "RuntimeError: out of order"}
    assert list(found.answers) == [("sound", "a")]
    assert NO_ANSWER not in found.answers["sound", "a"]


def test_finished_answers_are_not_asked_for_and_a_new_engine_is(photos, tiny_pipeline, pixel_target, tmp_path):
    ways = [
        Way(name="a", pipeline=tiny_pipeline),
        Way(name="b", pipeline=replace(tiny_pipeline, resize="opencv-nearest")),
    ]
    old, new = pixel_target("old", tiny_pipeline), pixel_target("new", tiny_pipeline)
    first = serve(photos, ways, [old], finished=FinishedCells(tmp_path))
    shown = old.engine.shown

    again = serve(photos, ways, [old, new], finished=FinishedCells(tmp_path))

    assert (old.engine.shown, new.engine.shown) == (shown, shown)
    assert (again.pixels, again.names) == (first.pixels, first.names)
    for way in ("a", "b"):
        np.testing.assert_array_equal(again.answers["old", way], first.answers["old", way])
        np.testing.assert_array_equal(again.answers["new", way], first.answers["old", way])


def test_what_every_engine_has_answered_is_not_decoded(photos, tiny_pipeline, pixel_target, tmp_path, decodings):
    ways, target = [Way(name="a", pipeline=tiny_pipeline)], pixel_target("pixel", tiny_pipeline)
    serve(photos, ways, [target], finished=FinishedCells(tmp_path))
    decodings.clear()

    serve(photos, ways, [target], finished=FinishedCells(tmp_path))

    assert len(decodings) < len(photos), "whether the decoder runs here is tried on a picture of our own"


@pytest.mark.parametrize("change", ["pipeline", "image", "identity", "quality"])
def test_answers_to_other_images_or_of_other_engines_are_not_taken(
    photos, tiny_pipeline, pixel_target, tmp_path, change
):
    way, target = Way(name="a", pipeline=tiny_pipeline), pixel_target("pixel", tiny_pipeline)
    serve(photos, [way], [target], finished=FinishedCells(tmp_path))
    if change == "pipeline":
        way = replace(way, pipeline=replace(tiny_pipeline, resize="opencv-nearest"))
    elif change == "quality":
        way = replace(way, quality=50)
    elif change == "identity":
        target = replace(target, identity={"sha256": "another"})
    else:
        photos = photos.subset(len(photos) - 1, 0)
    cells = FinishedCells(tmp_path)

    serve(photos, [way], [target], finished=cells)

    assert (cells.found, cells.kept) == (0, 1)


@pytest.mark.parametrize("name", ["torn.png", "gone.png"])
def test_a_batch_with_an_image_that_fails_is_not_kept(photos, tiny_pipeline, pixel_target, tmp_path, name):
    (tmp_path / "torn.png").write_bytes(b"no")
    bad = Sample(name=name, label=0, source=tmp_path / name)
    cells = FinishedCells(tmp_path / "cells")

    found = serve(
        replace(photos, samples=(*photos.samples, bad)),
        [Way(name="a", pipeline=tiny_pipeline)],
        [pixel_target("pixel", tiny_pipeline)],
        finished=cells,
    )

    assert [failure.sample.name for failure in found.failures] == [name]
    assert len(found.names) == len(photos)
    assert cells.kept == 0


def test_answers_of_an_engine_that_may_have_been_replaced_are_not_kept(photos, tiny_pipeline, pixel_target, tmp_path):
    def replaced():
        raise TargetChangedError("The model was replaced.")

    target = pixel_target("pixel", tiny_pipeline)
    target.engine.verify = replaced
    cells = FinishedCells(tmp_path)

    found = serve(photos, [Way(name="a", pipeline=tiny_pipeline)], [target], finished=cells)

    assert dict(found.broken) == {"pixel": "The model was replaced."}
    assert cells.kept == 0
