from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from robustmq_trt.core.errors import InputError, RefusedError
from robustmq_trt.inputs.catalog import PRESETS
from robustmq_trt.inputs.dataset import UNLABELLED, Dataset, Sample, check_labels
from robustmq_trt.inputs.loader import load_images
from robustmq_trt.inputs.sources import open_dataset


def save(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (value, 2, 3)).save(path)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two classes in sorted order, one image deeper down, and three files that are none."""
    save(tmp_path / "dog" / "b.png", 1)
    save(tmp_path / "dog" / "deep" / "a.JPEG", 2)
    save(tmp_path / "cat" / "z.bmp", 3)
    (tmp_path / "cat" / "notes.txt").write_text("x")
    (tmp_path / "cat" / ".hidden.png").write_text("x")
    (tmp_path / "README").write_text("x")
    return tmp_path


def memory(count: int) -> Dataset:
    pixels = np.zeros((1, 1, 3), np.uint8)
    return Dataset(samples=tuple(Sample(name=str(i), label=i % 3, source=pixels) for i in range(count)))


def names(dataset: Dataset) -> list[str]:
    return [sample.name for sample in dataset.samples]


def test_an_image_folder_has_its_classes_in_sorted_order(folders: Path) -> None:
    dataset = open_dataset(folders)

    assert dataset.class_names == ("cat", "dog")
    assert names(dataset) == ["cat/z.bmp", "dog/b.png", "dog/deep/a.JPEG"]
    assert dataset.labels.tolist() == [0, 1, 1]
    assert len(dataset) == 3


def test_what_is_no_image_is_skipped_by_name(folders: Path) -> None:
    assert open_dataset(folders).skipped == ("README", "cat/notes.txt")


def test_a_file_that_does_not_decode_stays_a_sample(folders: Path) -> None:
    (folders / "cat" / "broken.jpg").write_text("no image")

    assert names(open_dataset(folders))[0] == "cat/broken.jpg"


def test_a_class_without_images_is_refused_because_it_shifts_the_indices(folders: Path) -> None:
    (folders / "bird").mkdir()

    with pytest.raises(InputError, match="Class folder 'bird'"):
        open_dataset(folders)


@pytest.mark.parametrize("unlabelled", [True, False])
def test_an_empty_folder_is_an_input_error(tmp_path: Path, unlabelled: bool) -> None:
    with pytest.raises(InputError, match="holds no image"):
        open_dataset(tmp_path, unlabelled=unlabelled)


def test_a_missing_path_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_dataset(tmp_path / "none")


def test_images_without_labels_need_consent(tmp_path: Path) -> None:
    save(tmp_path / "a.png")

    with pytest.raises(InputError, match="no labels"):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path, unlabelled=True).labels.tolist() == [UNLABELLED]


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
def test_a_link_in_a_circle_ends(folders: Path) -> None:
    (folders / "cat" / "again").symlink_to(folders, target_is_directory=True)

    assert len(open_dataset(folders)) == 3


def test_hashes_are_those_of_the_files(folders: Path) -> None:
    dataset = open_dataset(folders)

    expected = [hashlib.sha256((folders / name).read_bytes()).hexdigest() for name in names(dataset)]
    rows = [[n, label, h] for n, label, h in zip(names(dataset), [0, 1, 1], expected, strict=True)]
    assert [sample.sha256 for sample in dataset.samples] == expected
    assert (
        dataset.manifest_sha256
        == hashlib.sha256(json.dumps(rows, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    )


def test_the_manifest_sees_content_label_and_order(folders: Path) -> None:
    before = open_dataset(folders)
    swapped = Dataset(samples=before.samples[::-1])
    first = before.manifest_sha256
    save(folders / "cat" / "z.bmp", 9)

    assert len({first, swapped.manifest_sha256, open_dataset(folders).manifest_sha256}) == 3
    assert before.manifest_sha256 == first  # read once


def test_an_unreadable_file_is_an_input_error(folders: Path) -> None:
    dataset = open_dataset(folders)
    (folders / "cat" / "z.bmp").unlink()

    with pytest.raises(InputError, match=r"'cat/z.bmp' cannot be read"):
        dataset.samples[0].read()


@given(size=st.integers(2, 60), seed=st.integers(-5, 2**70), data=st.data())
def test_a_split_is_a_partition_and_begins_with_the_subset(size: int, seed: int, data: st.DataObject) -> None:
    dataset, count = memory(size), data.draw(st.integers(1, size - 1))

    first, rest = dataset.split(count, seed)

    assert sorted(names(first) + names(rest)) == sorted(names(dataset))
    assert (len(first), len(rest)) == (count, size - count)
    assert names(dataset.subset(count, seed)) == names(first)
    assert names(dataset.subset(size, seed))[:count] == names(first)


def test_subsets_are_no_prefix_and_differ_by_seed() -> None:
    dataset = memory(1000)

    first, second = (names(dataset.subset(100, seed)) for seed in (0, 1))

    assert first != second
    assert 350 < np.mean([int(name) for name in first]) < 650
    assert first[:5] == ["569", "153", "178", "183", "688"]  # fixed for every NumPy version


@pytest.mark.parametrize("count", [0, -1, 6])
def test_impossible_subsets_are_refused(count: int) -> None:
    with pytest.raises(InputError, match=r"1\.\.5"):
        memory(5).subset(count, 0)
    with pytest.raises(InputError, match=r"1\.\.4"):
        memory(5).split(5, 0)


def test_labels_a_model_does_not_have_are_named() -> None:
    check_labels(memory(5).samples, 3)

    with pytest.raises(InputError, match=r"Expected labels in 0\.\.1, got 2 for '2'"):
        check_labels(memory(5).samples, 2)


def table(folder: Path, text: str, classes: str | None = None) -> Path:
    for name in ("a.png", "sub/b.png", "c.png"):
        save(folder / name)
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    if classes is not None:
        (folder / "classes.txt").write_text(classes, encoding="utf-8")
    return path


def test_a_csv_gives_labels_in_the_order_of_its_rows(tmp_path: Path) -> None:
    table(tmp_path, "\ufefffile,label,note\r\nsub/b.png,1,x\r\na.png,0,y\r\n\r\n")

    dataset = open_dataset(tmp_path)

    assert names(dataset) == ["sub/b.png", "a.png"]
    assert dataset.labels.tolist() == [1, 0]
    assert dataset.class_names is None


def test_class_names_are_looked_up_beside_the_csv(tmp_path: Path) -> None:
    path = table(tmp_path, "file,label\na.png,great white shark\nc.png,0\n", "tench\ngreat white shark\n")

    dataset = open_dataset(tmp_path, path)

    assert dataset.labels.tolist() == [1, 0]
    assert dataset.class_names == ("tench", "great white shark")


def test_without_a_list_the_names_of_the_csv_are_the_classes(tmp_path: Path) -> None:
    table(tmp_path, "file,label\na.png,dog\nc.png,cat\n")

    dataset = open_dataset(tmp_path)

    assert dataset.class_names == ("cat", "dog")
    assert dataset.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "classes", "message"),
    [
        ("", None, "Expected the header file,label"),
        ("path,label\na.png,0\n", None, "got 'path,label'"),
        ("file,label\n", None, "names no file"),
        ("file,label\na.png,0,1\n", None, r"line 2: expected 2 columns, got 3"),
        ("file,label\na.png\n", None, r"line 2: expected 2 columns, got 1"),
        ("file,label\na.png,0\n,1\n", None, r"line 3: `file` or `label` is empty"),
        ("file,label\na.png,0\nc.png,-1\n", None, r"line 3: label '-1' is no class index"),
        ("file,label\na.png,0\nc.png,1.0\n", None, r"line 3: label '1.0' is no class index"),
        ("file,label\na.png,10.0\nc.png,2.0\n", None, r"line 2: label '10.0' is no class index"),
        ("file,label\na.png,-1\nc.png,-2\n", None, r"line 2: label '-1' is no class index"),
        ("file,label\na.png,2\n", "x\ny\n", r"line 2: label 2, but there are 2 classes"),
        ("file,label\na.png,99999999999999999999\n", None, r"line 2: label 9+, but that is no class index"),
        ("file,label\na.png,caat\n", "cat\ndog\n", r"line 2: Unknown class 'caat'. Did you mean 'cat'"),
        ("file,label\na.png,zz\n", "\n".join(map(str, range(99))), r"line 2: Unknown class 'zz'"),
        ("file,label\na.png,crane\n", "crane\ncat\ncrane\n", r"line 2: class 'crane' is the name of \[0, 2\]"),
        ("file,label\na.png,0\n./a.png,1\n", None, r"line 3: './a.png' is in line 2 too"),
        ("file,label\na.png,0\nno.png,1\n", None, r"1 of 2 files are missing .*'no.png'"),
        ("file,label\n1.png,0\n2.png,0\n3.png,0\n4.png,0\n5.png,0\n", None, "5 of 5 .* and 2 more"),
        ('file,label\n"a.png,0\n', None, "line 3|expected 2 columns"),
        ("file,label,sha256\na.png,0,\n", None, "line 2: expected 64 hex digits in `sha256`, got ''"),
    ],
)
def test_bad_label_files_are_told_with_their_line(tmp_path: Path, text: str, classes: str | None, message: str) -> None:
    table(tmp_path, text, classes)

    with pytest.raises(InputError, match=message):
        open_dataset(tmp_path)


def test_a_file_unlike_its_declared_hash_is_no_sample_s_content(tmp_path: Path) -> None:
    table(tmp_path, "")
    whole, damaged = (tmp_path / name for name in ("a.png", "c.png"))
    rows = [f"{path.name},0,{hashlib.sha256(path.read_bytes()).hexdigest().upper()}" for path in (whole, damaged)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label,sha256", *rows]), encoding="utf-8")
    content = bytearray(damaged.read_bytes())
    content[-20] ^= 1
    damaged.write_bytes(content)

    dataset = open_dataset(tmp_path)

    assert dataset.samples[0].read() == whole.read_bytes()
    assert dataset.manifest_sha256  # hashing alone does not stop at it
    with pytest.raises(InputError, match=r"'c\.png' has SHA-256 \w{64} and the labels declare \w{64}.* Restore it"):
        dataset.samples[1].read()
    loaded = load_images(dataset, PRESETS["cifar10"], threads=1)
    assert loaded.names == ("a.png",)
    assert "Restore it" in loaded.failures[0].reason


@pytest.mark.parametrize("name", ["../secret.png", "sub/../../secret.png", "/etc/passwd", "..\\secret.png"])
def test_a_csv_never_reaches_outside_its_folder(tmp_path: Path, name: str) -> None:
    save(tmp_path / "secret.png")
    table(tmp_path / "data", f"file,label\n{name},0\n")

    with pytest.raises(RefusedError, match=r"line 2: .* lies outside"):
        open_dataset(tmp_path / "data")


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
def test_a_csv_never_follows_a_link_outside(tmp_path: Path) -> None:
    secret = save(tmp_path / "secret.png")
    table(tmp_path / "data", "file,label\nlink.png,0\n")
    (tmp_path / "data" / "link.png").symlink_to(secret)

    with pytest.raises(RefusedError, match="lies outside"):
        open_dataset(tmp_path / "data")


def test_a_csv_that_is_no_text_is_an_input_error(tmp_path: Path) -> None:
    path = table(tmp_path, "")
    path.write_bytes(b"file,label\n\xff\xfe,0\n")

    with pytest.raises(InputError, match="UTF-8"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="do not exist"):
        open_dataset(tmp_path, tmp_path / "none.csv")


def test_an_npz_holds_pixels_labels_and_names(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    path = tmp_path / "data.npz"
    np.savez(path, images=images, labels=np.array([2, 0, 1], np.uint8), class_names=np.array(["a", "b", "c"]))

    dataset = open_dataset(path)

    assert names(dataset) == ["000000", "000001", "000002"]
    assert dataset.labels.tolist() == [2, 0, 1]
    assert dataset.class_names == ("a", "b", "c")
    np.testing.assert_array_equal(dataset.samples[1].read(), images[1])
    assert dataset.samples[1].sha256 == hashlib.sha256(images[1].tobytes()).hexdigest()


GOOD_IMAGES = np.zeros((2, 4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": GOOD_IMAGES}, "expected `images` and `labels`"),
        ({}, "holds nothing known"),
        ({"images": GOOD_IMAGES.astype(float), "labels": np.arange(2)}, r"uint8 in .* float64"),
        ({"images": GOOD_IMAGES[..., 0], "labels": np.arange(2)}, r"got \(2, 4, 4\)"),
        ({"images": GOOD_IMAGES[:0], "labels": np.arange(0)}, r"got \(0, 4, 4, 3\)"),
        ({"images": GOOD_IMAGES, "labels": np.arange(3)}, r"`labels` \(2,\)"),
        ({"images": GOOD_IMAGES, "labels": np.array([0.0, 1.0])}, "of integers"),
        ({"images": GOOD_IMAGES, "labels": np.array([0, -1])}, "from 0"),
        ({"images": GOOD_IMAGES, "labels": np.array([0, 2]), "class_names": np.array(["a", "b"])}, "2 class names"),
    ],
)
def test_bad_npz_files_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)

    with pytest.raises(InputError, match=message):
        open_dataset(path)


def test_an_npz_never_unpickles(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, images=np.array([{"a": 1}], dtype=object), labels=np.arange(1), allow_pickle=True)

    with pytest.raises(InputError, match=r"not a readable \.npz"):
        open_dataset(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY"])
def test_files_that_are_no_npz_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.npz").write_bytes(content)
    (tmp_path / "data.zip").write_bytes(content)

    with pytest.raises(InputError, match=r"not a readable \.npz"):
        open_dataset(tmp_path / "data.npz")
    with pytest.raises(InputError, match=r"Expected a folder or an \.npz"):
        open_dataset(tmp_path / "data.zip")


def test_an_npz_takes_no_second_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", images=GOOD_IMAGES, labels=np.arange(2))

    with pytest.raises(InputError, match="its own labels"):
        open_dataset(tmp_path / "data.npz", tmp_path / "labels.csv")


@pytest.mark.realdata
def test_the_real_folders_open_whole(realdata: Path) -> None:
    imagenet = open_dataset(realdata / "data" / "imagenet600")
    cifar = open_dataset(realdata / "data" / "cifar10_2000")

    assert (len(imagenet), len(cifar)) == (600, 2000)
    assert imagenet.class_names is not None
    assert len(imagenet.class_names) == 1000
    assert imagenet.class_names[imagenet.samples[0].label] == "goldfish"
    assert cifar.class_names is not None
    assert cifar.class_names[:2] == ("airplane", "automobile")
    assert imagenet.skipped == cifar.skipped == ()
