"""A prepared set is what would be made anew, byte for byte, or it is not there: after kills, on full disks, shared."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robustmq_trt import assets
from robustmq_trt.core.errors import InputError
from robustmq_trt.evaluate import prepared_sets
from robustmq_trt.evaluate.chunk import Chunk
from robustmq_trt.evaluate.conditions import Condition
from robustmq_trt.evaluate.decoded_sets import Way, prepared_batches
from robustmq_trt.evaluate.plan import Plan, Run
from robustmq_trt.evaluate.prepared_sets import PreparedSets, makers
from robustmq_trt.evaluate.set_recipes import loading, showing
from robustmq_trt.inputs import pipeline as pipeline_module
from robustmq_trt.inputs.dataset import Dataset, Sample
from robustmq_trt.inputs.sources import open_dataset

SHAPE = (16, 32, 32, 3)
SIZE = 16 * 32 * 32 * 3 + 32
ROOMY = 1 << 30

WRITER = f"""
import sys
from pathlib import Path
import numpy as np
from robustmq_trt.evaluate.prepared_sets import PreparedSets
sets = PreparedSets(Path(sys.argv[1]), cap_bytes=int(sys.argv[2]))
for turn in range(int(sys.argv[3])):
    number = turn * int(sys.argv[4]) % 24
    expected = np.random.default_rng(number).integers(0, 256, {SHAPE}, np.uint8)
    found = sets.find({{"number": number}}, {SHAPE})
    if found is None:
        sets.keep({{"number": number}}, expected)
    else:
        np.testing.assert_array_equal(found, expected)
    print(turn, flush=True)
print(sets.damaged, sets.trouble)
"""


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, SHAPE, np.uint8)


def opened(folder: Path, cap_bytes: int = ROOMY) -> PreparedSets:
    return PreparedSets(folder, cap_bytes=cap_bytes)


def writer(folder: Path, *numbers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), *map(str, numbers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def photos() -> Dataset:
    return open_dataset(assets.images_dir("eval")).subset(6, 0)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """The files that were decoded, in order."""
    found: list[bytes] = []
    original = pipeline_module.decode

    def recorded(content, **how):
        found.append(content)
        return original(content, **how)

    monkeypatch.setattr(pipeline_module, "decode", recorded)
    return found


def test_a_set_is_found_by_the_next_run_with_the_same_bytes(tmp_path: Path) -> None:
    opened(tmp_path).keep({"number": 1}, pixels(1))

    later = opened(tmp_path)
    found = later.find({"number": 1}, SHAPE)

    np.testing.assert_array_equal(found, pixels(1))
    assert later.find({"number": 2}, SHAPE) is None
    assert later.summary() == "Prepared sets: 1 found, 0 made and kept"


def test_writing_to_a_found_set_does_not_reach_the_file(tmp_path: Path) -> None:
    sets = opened(tmp_path)
    sets.keep({}, pixels(1))

    found = sets.find({}, SHAPE)
    assert found is not None
    found[:] = 0

    np.testing.assert_array_equal(sets.find({}, SHAPE), pixels(1))


@pytest.mark.parametrize("damage", ["flip", "shorten", "empty", "swap", "reshape"])
def test_a_damaged_set_is_removed_and_made_again(tmp_path: Path, damage: str) -> None:
    sets = opened(tmp_path)
    sets.keep({"number": 1}, pixels(1))
    sets.keep({"number": 2}, pixels(2))
    path, other = (sets._path({"number": number}) for number in (1, 2))
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    wrong = {"flip": bytes(content), "shorten": content[:-7], "empty": b"", "swap": other.read_bytes()}
    if damage in wrong:
        path.write_bytes(wrong[damage])
    shape = (8, *SHAPE[1:]) if damage == "reshape" else SHAPE

    assert sets.find({"number": 1}, shape) is None

    assert (sets.damaged, path.exists()) == (1, False)
    assert "1 damaged and made again" in sets.summary()
    sets.keep({"number": 1}, pixels(1))
    np.testing.assert_array_equal(sets.find({"number": 1}, SHAPE), pixels(1))


def test_other_tools_make_other_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path).keep({}, pixels(1))
    monkeypatch.setattr(prepared_sets, "makers", lambda: {**makers(), "pillow": "another"})

    assert opened(tmp_path).find({}, SHAPE) is None


def test_the_code_that_makes_pixels_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str] = []
    monkeypatch.setattr(prepared_sets, "sha256_file", lambda path: named.append(path.name) or "changed")

    changed = makers()
    monkeypatch.undo()

    assert {"pipeline.py", "resize.py", "glass_blur.py", "cells.py", "decoded_sets.py", "randomness.py"} <= {*named}
    assert changed["code"] != makers()["code"] == makers()["code"]


def test_the_set_used_longest_ago_goes_first_and_foreign_files_stay(tmp_path: Path) -> None:
    first = opened(tmp_path, 3 * SIZE)
    for number in range(3):
        first.keep({"number": number}, pixels(number))
    for age, number in enumerate((1, 0, 2)):
        os.utime(first._path({"number": number}), (age, age))
    (tmp_path / "mine.png").write_bytes(bytes(SIZE))
    os.utime(tmp_path / "mine.png", (0, 0))
    later = opened(tmp_path, 3 * SIZE)

    assert later.find({"number": 1}, SHAPE) is not None  # used again: number 0 is the oldest now
    later.keep({"number": 3}, pixels(3))

    kept = [later.find({"number": number}, SHAPE) is not None for number in range(4)]
    assert kept == [False, True, True, True]
    assert (tmp_path / "mine.png").exists()


def test_a_run_that_needs_more_than_the_cap_keeps_what_fits_and_finds_it_again(tmp_path: Path) -> None:
    for wanted in ((0, 2), (2, 0)):
        sets = opened(tmp_path, 2 * SIZE)
        for number in range(5):
            if sets.find({"number": number}, SHAPE) is None:
                sets.keep({"number": number}, pixels(number))

        assert (sets.reads, sets.writes) == wanted
        assert sets.unkept == 3
        assert "3 beyond the cap" in sets.summary()


def test_a_set_larger_than_the_cap_costs_no_other_one(tmp_path: Path) -> None:
    opened(tmp_path).keep({"number": 1}, pixels(1))
    small = opened(tmp_path, SIZE + 10)

    small.keep({"number": 2}, np.concatenate([pixels(2), pixels(3)]))

    assert small.unkept == 1
    assert small.find({"number": 1}, SHAPE) is not None


def test_a_killed_run_leaves_whole_sets_only_and_the_next_goes_on(tmp_path: Path) -> None:
    for kill in (3, 9, 15):
        process = writer(tmp_path, ROOMY, 10_000, 1)
        assert process.stdout is not None
        while process.stdout.readline() != f"{kill}\n":
            assert process.poll() is None
        time.sleep(kill / 5000)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()

        sets = opened(tmp_path)
        found = [sets.find({"number": number}, SHAPE) for number in range(24)]

        assert sum(images is not None for images in found) > kill
        for number, images in enumerate(found):
            if images is not None:
                np.testing.assert_array_equal(images, pixels(number))
        assert sets.damaged == 0


def test_what_a_killed_run_left_half_written_goes_with_the_oldest(tmp_path: Path) -> None:
    half = tmp_path / f".{'0' * 64}.pixels.abc.part"
    half.write_bytes(bytes(SIZE))
    os.utime(half, (0, 0))

    sets = opened(tmp_path, 2 * SIZE)
    sets.keep({"number": 1}, pixels(1))
    sets.keep({"number": 2}, pixels(2))

    assert (half.exists(), sets.writes) == (False, 2)


def test_processes_side_by_side_disturb_each_other_in_nothing(tmp_path: Path) -> None:
    cap = 10 * SIZE
    running = [writer(tmp_path, cap, 300, step) for step in (1, 5)]

    for process in running:
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert out.splitlines()[-1] == "0 "
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= cap + SIZE


def test_a_write_that_fails_ends_the_keeping_and_leaves_nothing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="needs limits on the size of a file, which Windows lacks")
    script = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({SIZE // 2}, {SIZE // 2}))\n{WRITER}"
    assert resource
    command = [sys.executable, "-c", script, str(tmp_path), str(ROOMY), "3", "1"]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == f"0 writing to '{tmp_path}' failed: File too large"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_the_keeping_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = opened(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))

    sets.keep({"number": 1}, pixels(1))
    monkeypatch.undo()
    sets.keep({"number": 2}, pixels(2))

    assert sets.writes == 0
    assert "No space left on device" in sets.summary()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_may_only_be_read_still_gives_its_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path).keep({}, pixels(1))

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "utime", refused)
    np.testing.assert_array_equal(opened(tmp_path).find({}, SHAPE), pixels(1))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(InputError, match="cannot be kept in"):
        opened(tmp_path / "file")


def test_a_chunk_is_decoded_once_for_all_runs(photos, tiny_pipeline, decoded, tmp_path) -> None:
    fresh = Chunk(first=0, dataset=photos).load(tiny_pipeline)
    Chunk(first=0, dataset=photos).load(tiny_pipeline, opened(tmp_path))
    decoded.clear()

    other = replace(tiny_pipeline, name="other", mean=(0, 0, 0), std=(1, 1, 1), layout="nhwc", dtype="uint8")
    found = Chunk(first=0, dataset=photos).load(other, opened(tmp_path))

    assert decoded == []
    np.testing.assert_array_equal(found.images, fresh.images)
    assert (found.names, found.hashes, found.invalid) == (fresh.names, fresh.hashes, fresh.invalid)
    np.testing.assert_array_equal(found.labels, fresh.labels)
    np.testing.assert_array_equal(found.positions, fresh.positions)


def test_a_chunk_with_an_image_that_fails_is_not_kept(photos, tiny_pipeline, tmp_path) -> None:
    broken = replace(photos.samples[2], declared_sha256="0" * 64)
    chunk = Chunk(first=0, dataset=replace(photos, samples=(*photos.samples[:2], broken)))
    sets = opened(tmp_path)

    for _ in range(2):
        assert len(chunk.load(tiny_pipeline, sets).invalid) == 1

    assert (sets.reads, sets.writes) == (0, 0)


def test_a_file_that_changes_under_way_is_not_kept_under_its_old_hash(photos, tiny_pipeline, tmp_path) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(photos.samples[0].read())
    dataset = replace(photos, samples=(Sample(name="photo.jpg", label=0, source=file),))
    assert dataset.manifest_sha256
    file.write_bytes(photos.samples[1].read())
    sets = opened(tmp_path / "sets")

    with pytest.raises(InputError, match=r"'photo\.jpg' changed"):
        Chunk(first=0, dataset=dataset).load(tiny_pipeline, sets)
    with pytest.raises(InputError, match=r"'photo\.jpg' changed"):
        list(prepared_batches(dataset, [Way(name="own", pipeline=tiny_pipeline)], batch=1, threads=1, prepared=sets))

    assert sets.writes == 0


def test_batches_of_every_way_are_decoded_once_for_all_runs(photos, tiny_pipeline, decoded, tmp_path) -> None:
    ways = [
        Way(name="own", pipeline=tiny_pipeline),
        Way(name="q20", pipeline=tiny_pipeline, quality=20),
        Way(name="nearest", pipeline=replace(tiny_pipeline, resize="opencv-nearest")),
    ]

    def batches(sets: PreparedSets | None) -> list[dict[str, np.ndarray]]:
        made = list(prepared_batches(photos, ways, batch=4, threads=2, prepared=sets))
        assert sum((batch.samples for batch in made), ()) == photos.samples
        return [dict(batch.images) for batch in made]

    fresh, first = batches(None), batches(opened(tmp_path))
    decoded.clear()
    second = batches(opened(tmp_path))

    assert decoded == []
    for expected, one, two in zip(fresh, first, second, strict=True):
        for way in expected:
            np.testing.assert_array_equal(one[way], expected[way])
            np.testing.assert_array_equal(two[way], expected[way])
    assert (second[0]["own"] != second[0]["q20"]).any()


def test_all_that_moves_a_pixel_is_in_the_recipe(photos, tiny_pipeline, pixel_target) -> None:
    blur = Condition(kind="corruption", name="motion_blur", settings=(("severity", 3),))
    samples = photos.samples
    chunk = Chunk(first=0, dataset=photos)
    names = [sample.name for sample in samples]

    def corrupting(pipeline=tiny_pipeline, condition=blur, **plan):
        run = Run(plan=Plan(conditions=[], **plan), targets=[pixel_target("engine", pipeline)], dataset=chunk.dataset)
        return showing(run, condition, chunk, names)

    def array(height: int, width: int) -> Sample:
        return Sample(name="0", label=0, source=np.zeros((height, width, 3), np.uint8))

    recipes = [
        loading(samples, tiny_pipeline),
        loading(samples[:-1], tiny_pipeline),
        loading(samples[::-1], tiny_pipeline),
        loading(samples, tiny_pipeline, 90),
        loading([replace(samples[0], declared_sha256="0" * 64), *samples[1:]], tiny_pipeline),
        loading(samples, replace(tiny_pipeline, resize="opencv-nearest")),
        loading(samples, replace(tiny_pipeline, decoder="opencv")),
        loading(samples, replace(tiny_pipeline, exif="applied")),
        loading(samples, replace(tiny_pipeline, size=(8, 9))),
        loading([array(2, 8)], tiny_pipeline),
        loading([array(8, 2)], tiny_pipeline),
        corrupting(),
        corrupting(seed=1),
        corrupting(storage="jpeg85"),
        corrupting(condition=replace(blur, settings=(("severity", 4),))),
        corrupting(condition=replace(blur, name="fog")),
        corrupting(pipeline=replace(tiny_pipeline, resize="opencv-nearest")),
        corrupting(pipeline=replace(tiny_pipeline, size=(224, 224))),
        corrupting(condition=Condition(kind="preset", name="opencv-area")),
    ]

    assert len({repr(recipe) for recipe in recipes}) == len(recipes)


@pytest.mark.skipif(shutil.which("mount") is None or os.name != "posix" or os.geteuid() != 0, reason="needs to mount")
def test_a_disk_that_is_full_is_survived(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={5 * SIZE // 2}", "tmpfs", str(tmp_path)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"needs to mount a small disk: {mounted.stderr.decode().strip()}")
    try:
        sets = opened(tmp_path)
        for number in range(4):
            sets.keep({"number": number}, pixels(number))

        assert "No space left on device" in sets.trouble
        assert 1 <= sets.writes == sum(sets.find({"number": n}, SHAPE) is not None for n in range(4))
        assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
