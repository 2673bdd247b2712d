"""The sample document and the pictures in it."""

import base64
import copy
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

FLOAT, INT8 = "MobileNetV2 float", "MobileNetV2 INT8"


def png(pixels: np.ndarray) -> str:
    written, buffer = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))
    assert written
    return base64.b64encode(buffer.tobytes()).decode()


def _scene(seed: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scene = np.zeros((size, size, 3), np.uint8)
    scene[:] = np.linspace(60, 190, size)[:, None, None] * np.array([0.7, 0.9, 1.0])
    for _ in range(9):
        colour = tuple(int(c) for c in rng.integers(30, 255, 3))
        cv2.circle(
            scene,
            tuple(int(c) for c in rng.integers(0, size, 2)),
            int(rng.integers(size // 12, size // 4)),
            colour,
            -1,
            cv2.LINE_AA,
        )
    return cv2.GaussianBlur(scene, (0, 0), size / 110)


def _pictures(seed: int, size: int, word: str, wrong: str) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    clean = _scene(seed, size)
    noisy = np.clip(clean + rng.normal(0, 34, clean.shape), 0, 255).astype(np.uint8)
    stripes = (rng.integers(0, 2, (1, size, 3)) * 16 - 8).repeat(size, axis=0)
    attacked = np.clip(clean.astype(int) + stripes, 0, 255).astype(np.uint8)
    difference = np.clip(127 + stripes * 8, 0, 255).astype(np.uint8)
    rows = [
        ("clean", "as in the data set", clean, word, word),
        ("corrupted", "gaussian noise, severity 5", noisy, word, wrong),
        ("attacked", "Square, eps 8/255, after 64 queries", attacked, wrong, wrong),
        ("difference", "attack minus clean, eight times enlarged", difference, "", ""),
    ]
    return [
        {"kind": kind, "caption": caption, "png_base64": png(pixels), "answers": _answers(word, first, second)}
        for kind, caption, pixels, first, second in rows
    ]


def _answers(word: str, first: str, second: str) -> list[dict[str, Any]]:
    pairs = ((FLOAT, first), (INT8, second)) if first else ()
    return [{"engine": engine, "answer": answer, "correct": answer == word} for engine, answer in pairs]


def _sample_module() -> ModuleType:
    # Test folders are no packages, so a neighbour is loaded by its path.
    spec = spec_from_file_location("report_sample", Path(__file__).with_name("sample.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_document() -> dict[str, Any]:
    cardigan = _pictures(3, 128, "cardigan", "stole")
    frog = _pictures(8, 32, "tree frog", "American chameleon")
    examples = [
        {"name": "n02963159_cardigan.JPEG", "label": "cardigan", "images": cardigan},
        {"name": "frog/0042.jpg", "label": "tree frog", "images": frog},
    ]
    return dict(_sample_module().make_sample(examples))


@pytest.fixture(scope="session")
def made_once() -> dict[str, Any]:
    return make_document()


@pytest.fixture
def sample(made_once: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(made_once)
