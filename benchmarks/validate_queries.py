"""Claim: Square is the published attack, P-RGF no weaker than it, by their authors' code run beside ours.

    ROBUSTMQ_DATA=... python benchmarks/validate_queries.py --autoattack .../autoattack/square.py
    ROBUSTMQ_DATA=... python benchmarks/validate_queries.py --prgf .../Prior-Guided-RGF/attack.py --images 30

``--autoattack`` is a file of github.com/fra31/auto-attack, which needs torch and is no dependency, ``--prgf`` one of
github.com/thu-ml/Prior-Guided-RGF. A second run replaces what it names. ResNet20 in float, images it gets right. For
attacks that see labels alone see `validate_labels.py`.

Square: the reference is handed the draws of our run (place and colour of each square, the stripes), one image at a
time, and everything else is its own: p-schedule, projection, acceptance, stop, count. It must arrive at the same image,
to the grey level, after the same number of queries (ours less the clean check) with the same side at every step. Our
accept rule is set to the paper's, and its schedule is stretched over our budget. Scores are those of the uint8 image,
so that the last bits of a float image decide nothing.

P-RGF: the reference keeps its settings (eps 0.05, which is 12.75 levels; steps of 0.005, probes of 0.0001, on float
images) and its own count; ours has 12 levels. Its prior is ResNet56's gradient at every step; ours, which takes a prior
as its start, gets one level along the sign of that gradient at the clean image. "prgf-10" is the reference with ours'
10 probes for its 50, "rgf" both without a prior. Failures count as the budget; the figures are paired over images.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from bench_plateau import open_subjects
from bench_square import interval
from numpy.typing import NDArray
from prgf_contender import queries_of
from square_contender import float_pixels, grey_levels, load_autoattack
from square_subject import Subject

from robustmq_trt.core.files import write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.core.statistics import mcnemar_exact, paired_bootstrap
from robustmq_trt.evaluate.attacks.protocol import AttackResult, Goal
from robustmq_trt.evaluate.attacks.query_catalog import QUERY_ATTACKS
from robustmq_trt.evaluate.attacks.square import SquareLinf, SquareState, square_schedule
from robustmq_trt.evaluate.oracle import Oracle
from robustmq_trt.evaluate.scheduler import run_attacks
from robustmq_trt.evaluate.twin.twin import Twin

SEED = 0
PRGF_EPS = 12
PRGF = {
    "prgf": {"method": "biased"},
    "prgf-10": {"method": "biased", "samples_per_draw": 10},
    "rgf": {"method": "uniform"},
}


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
        sides = square_schedule(budget, *image.shape[:2], attack.p_init)
        assert log.sides == list(sides[: len(log.sides)])
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


def prgf_beside(subject: Subject, twin: Twin, path: Path, budget: int) -> dict[str, Any]:
    """Run the reference and ours; give the queries of both by variant."""
    found = {}
    for name, options in PRGF.items():
        theirs = queries_of(path, subject, twin, max_queries=budget, **options)
        found[name] = beside(our_prgf(subject, None if name == "rgf" else twin, budget), theirs, budget)
        print(name, found[name], flush=True)
    return found


def our_prgf(subject: Subject, twin: Twin | None, budget: int) -> NDArray[np.float64]:
    """The queries of ours, the clean check not counted, inf where it failed."""
    attack = QUERY_ATTACKS["prgf"].make({"eps": PRGF_EPS, "queries": budget + 1})
    starts = [None] * len(subject.images)
    if twin is not None:
        along = np.sign(twin.gradient(subject.images, subject.labels))
        starts = list(np.clip(subject.images + along, 0, 255).astype(np.uint8))
    states = (
        attack.begin(image, Goal(int(label)), image_stream(SEED, attack.task, sha256), start)
        for image, label, sha256, start in zip(subject.images, subject.labels, subject.hashes, starts, strict=True)
    )
    results = run_attacks(states, Oracle(subject.engine, subject.pipeline, batch=32, budget=attack.budget))
    return np.array([result.queries - 1 if result.success else np.inf for result in results])


def beside(ours: NDArray[np.float64], theirs: NDArray[np.float64], budget: int) -> dict[str, Any]:
    row: dict[str, Any] = {"n": len(ours)}
    reached = {"ours": ours <= budget, "theirs": theirs <= budget}  # theirs may run over in its last step
    counts = {"ours": np.minimum(ours, budget), "theirs": np.minimum(theirs, budget)}
    for side, spent in counts.items():
        row[side] = {
            "success": float(reached[side].mean()),
            "interval": interval(reached[side]),
            "queries_median": float(np.median(spent)),
            "queries_mean": float(spent.mean()),
        }
    ratio = paired_bootstrap(np.log(counts["ours"]), np.log(counts["theirs"]), seed=SEED)
    row["queries_ratio"] = [float(np.exp(bound)) for bound in (ratio.value, ratio.low, ratio.high)]
    gained = int((reached["ours"] & ~reached["theirs"]).sum())
    row["success_p"] = mcnemar_exact(gained, int((reached["theirs"] & ~reached["ours"]).sum()))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--autoattack", type=Path)
    parser.add_argument("--prgf", type=Path)
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--eps", type=int, default=8, help="grey levels, for Square")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    settings = {"queries": options.queries, "images": options.images, "seed": SEED}
    with tempfile.TemporaryDirectory() as folder:
        subjects, twins = open_subjects("resnet20", options.images, Path(folder), 1)
        subject = subjects["float"]
        if options.autoattack:
            same = square_equal(subject, load_autoattack(options.autoattack), options.eps, options.queries)
            equal = {"same_image_and_queries": same, "n": len(subject.images)}
            found["square"] = {"settings": settings | {"eps": options.eps}, **equal}
            print("square:", equal)
        if options.prgf:
            rows = prgf_beside(subject, twins[""], options.prgf, options.queries)
            found["prgf"] = {"settings": settings | {"eps": PRGF_EPS, "their_eps": 12.75}, "rows": rows}
    if not options.no_save:
        save(found)


def save(found: dict[str, Any]) -> None:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    path = Path(__file__).parent / "results" / f"validate_queries_{today}.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    write_json(path, before | {"date": today, "provenance": provenance(), **found})


if __name__ == "__main__":
    main()
