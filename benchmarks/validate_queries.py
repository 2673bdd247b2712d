"""Claim: Square and RayS are the published attacks, by their authors' code run beside ours on a float engine.

    ROBUSTMQ_DATA=... python benchmarks/validate_queries.py --autoattack .../autoattack/square.py --rays .../RayS.py

``--autoattack`` is a file of github.com/fra31/auto-attack, ``--rays`` one of github.com/uclaml/RayS; both need torch,
and neither is a dependency. ResNet20 in float, images it gets right.

Square: the reference is handed the draws of our run (place and colour of each square, the stripes), one image at a
time, and everything else is its own: p-schedule, projection, acceptance, stop, count. It must arrive at the same image,
to the grey level, after the same number of queries (ours less the clean check) with the same side at every step. Our
accept rule is set to the paper's, and its schedule is stretched over our budget. Scores are those of the uint8 image,
so that the last bits of a float image decide nothing.

RayS: each attack is run with its own draws until its image is within eps or the queries are spent. The reference
searches float images; queries of both exclude the clean check. Given are success and queries of both, and the interval
of the paired difference of mean queries by bootstrap.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from bench_plateau import open_subjects
from bench_square import FloatOracle, Subject, float_pixels, grey_levels, interval, load_autoattack
from numpy.typing import NDArray

from robustmq_trt.core.files import write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.core.statistics import paired_bootstrap
from robustmq_trt.evaluate.attacks.protocol import AttackResult, Goal
from robustmq_trt.evaluate.attacks.query_catalog import QUERY_ATTACKS
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


def rays_theirs(subject: Subject, module: ModuleType, eps: int, budget: int) -> tuple[NDArray[Any], NDArray[Any]]:
    import torch

    oracle = FloatOracle(subject)

    class Model:
        def predict_label(self, x: Any) -> Any:
            return torch.from_numpy(oracle(x.numpy()).argmax(axis=1))

    attack = module.RayS(Model(), epsilon=eps / 255)
    pixels, labels = torch.from_numpy(float_pixels(subject)), torch.from_numpy(subject.labels)
    _, queries, _, success = attack(pixels, labels, query_limit=budget)
    return queries.numpy(), success.numpy()


def rays_ours(subject: Subject, eps: int, budget: int) -> tuple[NDArray[Any], NDArray[Any]]:
    attack = QUERY_ATTACKS["rays"].make({"eps": eps, "queries": budget + 1})
    states = (
        attack.begin(image, Goal(int(label)), image_stream(SEED, attack.task, sha256))
        for image, label, sha256 in zip(subject.images, subject.labels, subject.hashes, strict=True)
    )
    results = run_attacks(states, Oracle(subject.engine, subject.pipeline, batch=32, budget=budget + 1))
    return np.array([r.queries - 1 for r in results]), np.array([r.success for r in results])


def load_rays(path: Path) -> ModuleType:
    import importlib.util

    import torch

    stub = ModuleType("pgbar")
    stub.progress_bar = lambda *_: None  # type: ignore[attr-defined]
    sys.modules["pgbar"] = stub
    torch.Tensor.cuda = lambda self, *_: self  # type: ignore[method-assign]  # the reference asks for a GPU
    spec = importlib.util.spec_from_file_location("reference_rays", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--autoattack", type=Path)
    parser.add_argument("--rays", type=Path)
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--eps", type=int, default=8)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        subject = open_subjects("resnet20", options.images, Path(folder), 1)[0]["float"]
        if options.autoattack:
            same = square_equal(subject, load_autoattack(options.autoattack), options.eps, options.queries)
            found["square"] = {"same_image_and_queries": same, "n": len(subject.images)}
            print("square:", found["square"], flush=True)
        if options.rays:
            found["rays"] = compare_rays(subject, load_rays(options.rays), options)
            print("rays:", found["rays"])
    if not options.no_save:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        settings = {"eps": options.eps, "queries": options.queries, "images": options.images, "seed": SEED}
        path = Path(__file__).parent / "results" / f"validate_queries_{today}.json"
        write_json(path, {"date": today, "settings": settings, "provenance": provenance()} | found)


def compare_rays(subject: Subject, module: ModuleType, options: argparse.Namespace) -> dict[str, Any]:
    theirs, ours = (
        rays_theirs(subject, module, options.eps, options.queries),
        rays_ours(subject, options.eps, options.queries),
    )
    row: dict[str, Any] = {"n": len(ours[0])}
    for name, (queries, success) in (("theirs", theirs), ("ours", ours)):
        row[name] = {
            "success": float(success.mean()),
            "interval": interval(success),
            "queries_median": float(np.median(queries)),
            "queries_mean": float(queries.mean()),
        }
    row["mean_difference"] = paired_bootstrap(
        ours[0].astype(np.float64), theirs[0].astype(np.float64), seed=SEED
    ).__dict__
    return row


if __name__ == "__main__":
    main()
