"""Writes the embedded JPEG files, the class list and ``assets/manifest.json``; run it after ``train_vit.py``."""

import argparse
import hashlib
import json
from pathlib import Path

import cv2
import onnx
from photo import photo
from scene import CLASSES, SPLITS, Split

ASSETS = Path(__file__).resolve().parents[2] / "assets"
MODELS = ("model.onnx", "vit.onnx")
PER_CLASS: dict[Split, int] = {"calib": 10, "eval": 20}

Row = dict[str, str | int]


def write_image(root: Path, split: Split, label: int, index: int) -> Row:
    """Render one image into ``root/images/SPLIT/CLASS/NNN.jpg`` and return its row of the manifest."""
    name = f"images/{split}/{CLASSES[label]}/{index:03d}.jpg"
    data = photo(split, label, index)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return {"path": name, "split": split, "class": CLASSES[label], "index": index, "sha256": digest}


def write_images(root: Path) -> list[Row]:
    """Render both embedded splits; return the manifest's rows."""
    keys = [(split, label, index) for split in PER_CLASS for label in range(10) for index in range(PER_CLASS[split])]
    return [write_image(root, split, label, index) for split, label, index in keys]


def training_facts(model: Path) -> Row:
    """Return what the model file's metadata says of its training images: count, index range and digest."""
    facts = {entry.key: entry.value for entry in onnx.load(model).metadata_props}
    per_class = int(facts["train.per_class"])
    span: Row = {"count": per_class * len(CLASSES), "first_index": 0, "last_index": per_class - 1}
    return span | {"sha256": facts["train.sha256"]}


def model_facts(model: Path) -> Row:
    """Return a model file's digest and what its metadata says of its making."""
    facts: Row = {entry.key: entry.value for entry in onnx.load(model).metadata_props}
    return {"sha256": hashlib.sha256(model.read_bytes()).hexdigest()} | facts


def main() -> None:
    """Write images, class list and manifest below the output folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ASSETS)
    root: Path = parser.parse_args().output
    cv2.setNumThreads(1)
    manifest = {
        "key": "numpy Philox, key = (split << 32 | label, index)",
        "splits": {split: number for number, split in enumerate(SPLITS)},
        "classes": CLASSES,
        "train": training_facts(root / "model.onnx"),
        "models": {name: model_facts(root / name) for name in MODELS},
        "files": write_images(root),
    }
    (root / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
