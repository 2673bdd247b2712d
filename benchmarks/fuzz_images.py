"""Two thousand damaged images through every decoder and every preset: is each a picture or a counted failure?

    python benchmarks/fuzz_images.py --save

Each case is one of the good files of ``damaged_images.py`` (JPEG, PNG, BMP and WebP in the variants that cameras and
editors write), damaged once, in some cases twice or thrice, by a seeded generator: bits flipped, cut off, blanked,
repeated, spliced with another file of its format, numbers of its header changed, its EXIF replaced or added. A child
process takes it through every way: each decoder, each decoder with EXIF applied and reduced decoding, each preset. A
way ends in one of these:

``image``    pixels of the right shape and type;
``refused``  the error made for users, with the reason;
``crashed``  the child died; it is started again for the ways that are left;
``hung``     no answer within the time limit; likewise;
``wrong``    another exception, or pixels of another shape.

``--save`` writes the counts and every outcome that is not one of the first two to
``benchmarks/results/fuzz_images_DATE_VERSIONS.json``. It also counts where a decoder and Pillow disagree about a file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
from damaged_images import Case, cases
from numpy.typing import NDArray

from robustmq_trt.core.errors import InputError
from robustmq_trt.core.provenance import provenance
from robustmq_trt.inputs.catalog import PRESETS
from robustmq_trt.inputs.containers import inspect
from robustmq_trt.inputs.decode import DECODERS, decode
from robustmq_trt.inputs.exif import upright_size

CASES = 2000
TIME_LIMIT = 30.0
SMALL = (16, 24)
ROOT = Path(__file__).resolve().parents[1]
Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one way made of one case."""

    number: int
    way: str
    outcome: str
    message: str = ""
    seconds: float = 0.0
    difference: float | None = None


def ways() -> dict[str, Callable[[bytes], tuple[NDArray[np.uint8], Shape]]]:
    """Give what each case goes through: name to a function that gives pixels and the shape they should have."""
    plain = {f"decoder {name}": partial(_decoded, name) for name in DECODERS}
    turned = {f"decoder {name}, turned and reduced": partial(_turned_and_reduced, name) for name in DECODERS}
    return {**plain, **turned, **{f"preset {name}": partial(_prepared, name) for name in PRESETS}}


def _decoded(decoder: str, content: bytes) -> tuple[NDArray[np.uint8], Shape]:
    pixels = decode(content, decoder=decoder)
    container = inspect(content)
    return pixels, (container.height, container.width, 3)


def _turned_and_reduced(decoder: str, content: bytes) -> tuple[NDArray[np.uint8], Shape]:
    pixels = decode(content, decoder=decoder, exif="applied", resized=lambda _: SMALL)
    container = inspect(content)
    height, width = upright_size(container.height, container.width, container.orientation)
    fits = [f for f in (8, 4, 2) if height // f >= SMALL[0] and width // f >= SMALL[1]]
    factor = fits[0] if fits and container.format == "JPEG" else 1
    return pixels, (-(-height // factor), -(-width // factor), 3)


def _prepared(preset: str, content: bytes) -> tuple[NDArray[np.uint8], Shape]:
    return PRESETS[preset].load(content), (*PRESETS[preset].size, 3)


def _hangs(content: bytes) -> tuple[NDArray[np.uint8], Shape]:
    time.sleep(3600)
    raise AssertionError(f"{len(content)} bytes outlived an hour")


def _crashes(content: bytes) -> tuple[NDArray[np.uint8], Shape]:
    os.abort()


TRAPS = {"trap that hangs": _hangs, "trap that crashes": _crashes}


def tried(case: Case, names: list[str]) -> Iterator[Outcome]:
    """Take a case through some ways, in this process."""
    reference: NDArray[np.uint8] | None = None
    every = {**ways(), **TRAPS}
    for way in names:
        started = time.monotonic()
        pixels = None
        try:
            pixels, shape = every[way](case.content)
            right = pixels.shape == shape and pixels.dtype == np.uint8
            outcome, message = ("image", "") if right else ("wrong", f"{pixels.shape} {pixels.dtype}, not {shape}")
        except InputError as error:
            outcome, message = "refused", str(error)
        except Exception as error:
            outcome, message = "wrong", f"{type(error).__name__}: {error}"
        reference = pixels if way == "decoder pillow" else reference
        yield Outcome(
            number=case.number,
            way=way,
            outcome=outcome,
            message=message,
            seconds=time.monotonic() - started,
            difference=_difference(pixels, reference),
        )


def _difference(pixels: NDArray[np.uint8] | None, reference: NDArray[np.uint8] | None) -> float | None:
    if pixels is None or reference is None or pixels.shape != reference.shape:
        return None
    return float(np.abs(pixels.astype(np.int16) - reference).mean())


def _serve(pipe: Connection) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # OpenCV's libraries complain there
    pipe.send("ready")
    while True:
        case, names = pipe.recv()
        for outcome in tried(case, names):
            pipe.send(outcome)


class Child:
    """The process that may die; ``outcomes`` survives it."""

    def __init__(self) -> None:
        self.died = 0
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there,), daemon=True)
        self._process.start()
        there.close()
        self._pipe.recv()

    def outcomes(self, case: Case, names: list[str], time_limit: float) -> Iterator[Outcome]:
        """Give one outcome per name; after a crash or a hang, go on with the next name in a new process."""
        left = list(names)
        self._pipe.send((case, left))
        while left:
            failure = ""
            try:
                failure = "" if self._pipe.poll(time_limit) else "hung"
                outcome = self._pipe.recv() if not failure else None
            except EOFError:
                failure, outcome = "crashed", None
            yield outcome or Outcome(number=case.number, way=left[0], outcome=failure, seconds=time_limit)
            left = left[1:]
            if failure:
                self._restart()
                self._pipe.send((case, left))

    def _restart(self) -> None:
        self.died += 1
        self.close()
        self._start()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def check_the_watch(time_limit: float = 5.0) -> None:
    """Make sure that a hang and a crash are seen, and cost no other way its turn."""
    (case,) = cases(1, 0)
    names = ["decoder pillow", *TRAPS, "decoder opencv"]
    child = Child()
    try:
        found = {outcome.way: outcome.outcome for outcome in child.outcomes(case, names, time_limit)}
    finally:
        child.close()
    assert list(found) == names, found
    assert [found[trap] for trap in TRAPS] == ["hung", "crashed"], found
    assert {found["decoder pillow"], found["decoder opencv"]} <= {"image", "refused"}, found


def fuzz(count: int, seed: int, *, time_limit: float = TIME_LIMIT) -> list[Outcome]:
    """Take all cases through all ways, Pillow first."""
    names = sorted(ways(), key=lambda way: way != "decoder pillow")
    child = Child()
    try:
        found = [outcome for case in cases(count, seed) for outcome in child.outcomes(case, names, time_limit)]
    finally:
        child.close()
    assert len(found) == count * len(names)
    return found


def summary(found: list[Outcome]) -> dict[str, Any]:
    """Count outcomes by way, and disagreements of the decoders with Pillow about whether and what a file is."""
    names = sorted({outcome.way for outcome in found})
    by_way = {way: dict(Counter(o.outcome for o in found if o.way == way)) for way in names}
    pillow = {o.number: o.outcome for o in found if o.way == "decoder pillow"}
    plain = [o for o in found if o.way.startswith("decoder ") and "," not in o.way]
    return {
        "outcomes": dict(Counter(outcome.outcome for outcome in found)),
        "by_way": by_way,
        "against_pillow": {
            way: _against(pillow, [o for o in plain if o.way == way])
            for way in names
            if "," not in way and way.startswith("decoder ")
        },
        "refused_without_a_reason": sum(o.outcome == "refused" and not o.message for o in found),
        "reasons": dict(Counter(_kind(o.message) for o in found if o.outcome == "refused").most_common(20)),
        "slowest_seconds": round(max(outcome.seconds for outcome in found), 2),
    }


def _kind(message: str) -> str:
    """Give a reason without its numbers, to count it by."""
    return re.sub(r"\b[0-9a-f]{2}( [0-9a-f]{2})+\b|b'.*?'|\d+", "N", message)


def _against(pillow: Mapping[int, str], found: list[Outcome]) -> dict[str, int]:
    both = [o for o in found if o.outcome == "image" and pillow[o.number] == "image"]
    return {
        "both give an image": len(both),
        "both give an image, mean difference above 8 levels": sum((o.difference or 0) > 8 for o in both),
        "only this one gives an image": sum(o.outcome == "image" and pillow[o.number] != "image" for o in found),
        "only Pillow gives an image": sum(o.outcome != "image" and pillow[o.number] == "image" for o in found),
    }


def save(found: list[Outcome], count: int, seed: int) -> Path:
    """Write the counts, and each outcome that should not be, beside the other results."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    versions = f"opencv-{cv2.__version__}_pillow-{PIL.__version__}"
    path = ROOT / "benchmarks" / "results" / f"fuzz_images_{date}_{versions}.json"
    document = {
        "date": date,
        "n": count,
        "ways": len({outcome.way for outcome in found}),
        "seed": seed,
        "time_limit_seconds": TIME_LIMIT,
        "parent_survived": True,
        "damage": dict(Counter(way for case in cases(count, seed) for way in case.damage)),
        "files": dict(Counter(case.name for case in cases(count, seed))),
        **summary(found),
        "failures": [asdict(outcome) for outcome in found if outcome.outcome not in ("image", "refused")],
        "provenance": provenance(),
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    check_the_watch()
    found = fuzz(options.cases, options.seed)
    print(json.dumps(summary(found), indent=1))
    if options.save:
        print("written:", save(found, options.cases, options.seed))


if __name__ == "__main__":
    main()
