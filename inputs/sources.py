"""Ways a dataset lies on disk: class folders, a folder with a labels CSV, an ``.npz``, a bare folder of images."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from .dataset import UNLABELLED, Dataset, Sample
from .labels import read_labels

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
MAX_NPZ_BYTES = 16 << 30
"""Largest decoded ``.npz`` that is opened: its arrays live in memory."""


def open_dataset(path: Path | str, labels: Path | str | None = None, *, unlabelled: bool = False) -> Dataset:
    """Open a dataset without decoding or hashing anything.

    Recognised, in this order: an ``.npz`` (``images`` (N, H, W, 3) uint8 RGB, ``labels`` (N,) integer, optional
    ``class_names``); a folder with a labels CSV, named or lying in it as ``labels.csv``; an ImageFolder, one folder per
    class in sorted order, images at any depth below; with ``unlabelled`` also a folder of images.

    Files are taken by suffix (``IMAGE_SUFFIXES``); what has another one is named in ``skipped``. A file that does not
    decode stays a sample. Hidden files and folders are passed over. Links in a folder are followed: what they reach is
    only ever decoded as an image.

    Args:
        path: Folder or ``.npz``.
        labels: CSV with the header ``file,label``; files are relative to ``path``.
        unlabelled: Accept images without labels, e.g. for calibration; they get ``UNLABELLED``.

    Raises:
        InputError: If nothing is there, nothing in it is an image, or the labels do not fit.
        RefusedError: If the CSV names a file outside the folder.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"Data '{path}' does not exist. Check the path.")
    if path.is_file():
        return _open_npz(path, labels)
    if labels is None and (path / "labels.csv").is_file():
        labels = path / "labels.csv"
    if labels is not None:
        return read_labels(path, Path(labels))
    folders = [entry for entry in _visible(path) if entry.is_dir()]
    return _image_folder(path, folders) if folders else _flat_folder(path, unlabelled)


def _image_folder(path: Path, folders: list[Path]) -> Dataset:
    samples: list[Sample] = []
    skipped = [entry.name for entry in _visible(path) if entry.is_file()]
    for label, folder in enumerate(folders):
        before = len(samples)
        for file in _files_below(folder):
            name = file.relative_to(path).as_posix()
            if _looks_like_image(file):
                samples.append(Sample(name=name, label=label, source=file))
            else:
                skipped.append(name)
        if len(samples) == before:
            raise InputError(
                f"Class folder '{folder.name}' in '{path}' holds no image ({_suffixes()}), so the class indices are in "
                "doubt. Remove the folder, or give the labels as a CSV."
            )
    names = tuple(folder.name for folder in folders)
    return Dataset(samples=tuple(samples), class_names=names, skipped=tuple(skipped))


def _flat_folder(path: Path, unlabelled: bool) -> Dataset:
    files = [entry for entry in _visible(path) if entry.is_file()]
    images = [file for file in files if _looks_like_image(file)]
    if not images:
        raise InputError(f"Folder '{path}' holds no image ({_suffixes()}). Check the path.")
    if not unlabelled:
        raise InputError(
            f"Folder '{path}' holds {len(images)} images and no labels. Put them in one folder per class, or give a "
            "CSV with the header file,label."
        )
    samples = tuple(Sample(name=file.name, label=UNLABELLED, source=file) for file in images)
    return Dataset(samples=samples, skipped=tuple(file.name for file in files if file not in set(images)))


def _visible(folder: Path) -> list[Path]:
    return sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _files_below(folder: Path) -> Iterator[Path]:
    for entry in _visible(folder):
        if not entry.is_dir():
            yield entry
        elif not entry.is_symlink():  # a link to a folder can lead in a circle
            yield from _files_below(entry)


def _looks_like_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES


def _suffixes() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))


def _open_npz(path: Path, labels: Path | str | None) -> Dataset:
    if path.suffix.lower() != ".npz":
        raise InputError(f"Expected a folder or an .npz file, got '{path}'. Pass the folder that holds the images.")
    if labels is not None:
        raise InputError(f"'{path}' carries its own labels, so '{labels}' is one too many. Leave it out.")
    arrays = _read_npz(path)
    images, classes = _checked_arrays(path, arrays)
    names = arrays.get("class_names")
    class_names = None if names is None else tuple(str(name) for name in names)
    if class_names is not None and int(classes.max()) >= len(class_names):
        raise InputError(f"'{path}' has label {classes.max()} and {len(class_names)} class names. Correct one of them.")
    samples = (Sample(name=f"{row:06d}", label=int(label), source=images[row]) for row, label in enumerate(classes))
    return Dataset(samples=tuple(samples), class_names=class_names)


def _read_npz(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_NPZ_BYTES:
            raise InputError(f"'{path}' unpacks to {size} bytes, more than {MAX_NPZ_BYTES}. Use image files instead.")
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in ("images", "labels", "class_names") if key in archive}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise InputError(f"'{path}' is not a readable .npz: {error}. Write it with numpy.savez.") from error


def _checked_arrays(
    path: Path, arrays: dict[str, NDArray[np.generic]]
) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
    images, labels = arrays.get("images"), arrays.get("labels")
    if images is None or labels is None:
        raise InputError(
            f"'{path}' holds {sorted(arrays) or 'nothing known'}, expected `images` and `labels`. Add them."
        )
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or not images.size:
        raise InputError(
            f"Expected `images` (N, H, W, 3) uint8 in '{path}', got {images.shape} {images.dtype}. Convert them."
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or int(np.min(labels)) < 0:
        raise InputError(
            f"Expected `labels` ({len(images)},) of integers from 0 in '{path}', got {labels.shape} {labels.dtype}. "
            "Give one class index per image."
        )
    return images.view(np.uint8), labels.astype(np.int64)
