"""Claim: Square is the published attack, by its authors' code run beside ours on a float engine.

    ROBUSTMQ_DATA=... python benchmarks/validate_queries.py --autoattack .../autoattack/square.py

``--autoattack`` is a file of github.com/fra31/auto-attack, which needs torch and is no dependency. ResNet20 in float,
images it gets right. For attacks that see labels alone see `validate_labels.py`.

The reference is handed the draws of our run (place and colour of each square, the stripes), one image at a
time, and everything else is its own: p-schedule, projection, acceptance, stop, count. It must arrive at the same image,
to the grey level, after the same number of queries (ours less the clean check) with the same side at every step. Our
accept rule is set to the paper's, and its schedule is stretched over our budget. Scores are those of the uint8 image,
so that the last bits of a float image decide nothing.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from bench_plateau import open_subjects
from numpy.typing import NDArray
from square_contender import Subject, float_pixels, grey_levels, load_autoattack

from robustmq_trt.core.files import write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.evaluate.attacks.protocol import AttackResult, Goal
from robustmq_trt.evaluate.attacks.square import SquareLinf, SquareState, square_schedule
from robustmq_trt.evaluate.oracle import Oracle
from robustmq_trt.evaluate.scheduler import run_attacks

SEED = 0


def square_equal(subject: Subject, module: ModuleType, eps: int, budget: int) -> int:
    """Replay our Square in the reference, image by image; give the number of images that came out the same."""
    import torch

    attack = SquareLinf(eps=eps, budget=budget, accept="strict")
    same = 0
    for image, label, sha256 in zip(subject.images, subject.labels, subject.hashes, strict=True):
        state = attack.begin(image, Goal(int(label)), image_stream(SEED, attack.task, sha256))
        log = Log(state, image)
        ours = run_attacks([log], Oracle(subject.engine, subject.pipeline, batch=1, budget=budget))[0]

        def scores(x: Any) -> Any:
            return torch.from_numpy(subject.scores(grey_levels(x.numpy())))

        # The stop of the reference is margin <= 0; on a float engine that is the argmax.
        theirs = module.SquareAttack(scores, n_queries=budget - 2, eps=eps / 255, p_init=attack.p_init, seed=SEED)
        pixels = torch.from_numpy(float_pixels(subject_of(subject, image)))
        theirs.init_hyperparam(pixels)
        log.play_to(theirs)
        stretch(theirs, budget)
        count, best = theirs.attack_single_run(pixels, torch.tensor([int(label)]))
        schedule = square_schedule(budget, *image.shape[:2], attack.p_init)
        assert log.sides == [schedule.side(i) for i in range(len(log.sides))]
        same += int(
            bool((grey_levels(best.numpy())[0] == ours.adversarial).all()) and int(count[0]) == ours.queries - 1
        )
    return same


def stretch(reference: Any, budget: int) -> None:
    """Stretch the reference's schedule over the whole budget; it leaves out the clean check and the start."""
    select, iterations = reference.p_selection, reference.n_queries

    def p_selection(iteration: int) -> float:
        reference.n_queries = budget
        share: float = select(iteration)
        reference.n_queries = iterations
        return share

    reference.p_selection = p_selection


def subject_of(subject: Subject, image: NDArray[np.uint8]) -> Subject:
    return Subject(
        engine=subject.engine,
        pipeline=subject.pipeline,
        images=image[None],
        labels=subject.labels[:1],
        hashes=subject.hashes[:1],
        attack=subject.attack,
    )


class Log:
    """Our attack, with its draws written down, to be read by the reference as its random numbers."""

    def __init__(self, state: SquareState, image: NDArray[np.uint8]) -> None:
        self._state, self._image = state, image
        self.goal = state.goal
        self.start: NDArray[np.float32] | None = None
        self.draws: list[tuple[int, int, NDArray[np.float32]]] = []
        self.sides: list[int] = []
        self._asked = 0

    @property
    def done(self) -> bool:
        """Whether the attack has ended."""
        return self._state.done

    def propose(self, canvas: NDArray[np.uint8]) -> None:
        """Let the attack propose, and read off what it drew."""
        self._state.propose(canvas)
        self._asked += 1
        # Against 1..254: a value at the border that could not move still shows which way it was to go.
        signs = np.sign(canvas.astype(int) - np.clip(self._image.astype(int), 1, 254)).astype(np.float32)
        if self._asked == 2:
            self.start = np.where(signs.sum(axis=0) > 0, np.float32(1), np.float32(-1))
        elif self._asked > 2:
            rows, columns = self._state._window
            self.sides.append(rows.stop - rows.start)
            patch = signs[rows, columns]
            self.draws.append((rows.start, columns.start, np.sign(patch.sum(axis=(0, 1)))))

    def tell(self, answer: Any) -> None:
        """Pass the answer on."""
        self._state.tell(answer)

    def result(self, queries: int, reason: str | None = None) -> AttackResult:
        """Pass the outcome on."""
        return self._state.result(queries, reason)

    def play_to(self, reference: Any) -> None:
        """Replace the random numbers of the reference by what was written down."""
        import torch

        integers = iter([value for row, column, _ in self.draws for value in (row, column)])
        colours = iter([colour for _, _, colour in self.draws])

        def random_choice(shape: list[int]) -> Any:
            if len(shape) == 4:
                assert self.start is not None
                return torch.from_numpy(self.start.T[None, :, None, :].copy())
            return torch.from_numpy(next(colours).reshape(-1, 1, 1))

        reference.random_choice = random_choice
        reference.random_int = lambda low, high: next(integers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--autoattack", type=Path, required=True)
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--eps", type=int, default=8)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subject = open_subjects("resnet20", options.images, Path(folder), 1)[0]["float"]
        same = square_equal(subject, load_autoattack(options.autoattack), options.eps, options.queries)
    found = {"same_image_and_queries": same, "n": len(subject.images)}
    print("square:", found)
    if not options.no_save:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        settings = {"eps": options.eps, "queries": options.queries, "images": options.images, "seed": SEED}
        path = Path(__file__).parent / "results" / f"validate_queries_{today}.json"
        write_json(path, {"date": today, "settings": settings, "provenance": provenance(), "square": found})


if __name__ == "__main__":
    main()
