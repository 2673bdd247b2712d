"""Claim: RayS, which sees labels alone, keeps an INT8 engine busy 90 % of the wall time.

Method, engines and images of `bench_square.py`: ResNet20 INT8 on CIFAR-10, or MobileNetV2 (`--net`), eps 8, at most
1000 queries an image, one thread, batch 64. Asserted first: the same bits at batch 1, 32 and all images and with two
threads for one, no claim that the engine denies, nothing beyond eps.

    ROBUSTMQ_DATA=... python benchmarks/bench_rays.py --rays .../RayS.py --art --foolbox    # for the record
    ROBUSTMQ_DATA=... python benchmarks/bench_rays.py --images 4 --queries 100 --rounds 1 --no-save

``--rays`` is the authors' file of github.com/uclaml/RayS (needs torch), all images in one call; ``--art`` and
``--foolbox`` take HopSkipJump, the label attack of the adversarial-robustness-toolbox and of Foolbox (needs torch),
where they are installed, with the evaluations of their default first step. None is a dependency. The authors' RayS goes
on to its budget after an image is fooled, which shows in its "useful" share. HopSkipJump is another algorithm: what it
evaluates cannot be measured by what RayS needs, so its useful share is 1, in its favour, and it says nothing about the
strength of the two.
"""

from __future__ import annotations

import argparse
import datetime
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from bench_square import Contender, add_options, measure, show, summarise, verified
from label_contenders import load_module, quietly
from square_contender import FloatOracle, Outcome, art_outcome, float_pixels, timed, torch_model, versions
from square_subject import BATCH, SEED, Floats, Subject, open_subject

from robustmq_trt.core.files import write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.evaluate.attacks.protocol import Goal, linf_levels
from robustmq_trt.evaluate.attacks.query_catalog import QUERY_ATTACKS
from robustmq_trt.evaluate.oracle import Oracle
from robustmq_trt.evaluate.scheduler import run_attacks

HOPSKIPJUMP = ("ART HopSkipJump", "Foolbox HopSkipJump")


def ours(subject: Subject, *, batch: int = BATCH) -> Outcome:
    budget = subject.attack.budget
    attack = QUERY_ATTACKS["rays"].make({"eps": subject.attack.eps, "queries": budget})
    oracle = Oracle(subject.engine, subject.pipeline, batch=batch, budget=budget, score_access="label")
    began = time.perf_counter_ns()
    states = (
        attack.begin(image, Goal(int(label)), image_stream(SEED, attack.task, sha256))
        for image, label, sha256 in zip(subject.images, subject.labels, subject.hashes, strict=True)
    )
    results = run_attacks(states, oracle)
    wall = (time.perf_counter_ns() - began) / 1e9
    return Outcome(
        adversarials=np.stack([result.adversarial for result in results]),
        claimed=np.array([result.success for result in results]),
        evaluations=oracle.cost.evaluations,
        wall_s=wall,
        queries=np.array([result.queries for result in results]),
        engine_s=oracle.cost.engine_ns / 1e9,
    )


def authors_rays(subject: Subject, module: ModuleType) -> Outcome:
    import torch

    oracle = FloatOracle(subject)

    class Model:
        def predict_label(self, pixels: Any) -> Any:
            return torch.from_numpy(oracle(pixels.numpy()).argmax(axis=1))

    attack = module.RayS(Model(), epsilon=subject.attack.eps / 255)
    pixels, labels = torch.from_numpy(float_pixels(subject)), torch.from_numpy(subject.labels)
    found: list[Any] = []

    def run() -> Floats:
        quietly(lambda: found.extend(attack(pixels, labels, query_limit=subject.attack.budget - 1)))
        best: Floats = found[0].numpy()
        return best

    outcome, _ = timed(subject, oracle, run)
    _, queries, _, within = found
    return replace(outcome, claimed=within.numpy(), queries=queries.numpy().astype(np.int64))


def art_hopskipjump(subject: Subject) -> Outcome:
    from art.attacks.evasion import HopSkipJump

    return art_outcome(subject, HopSkipJump, {"max_iter": 1})


def foolbox_hopskipjump(subject: Subject) -> Outcome:
    import foolbox
    import torch

    torch.set_num_threads(1)
    oracle = FloatOracle(subject)
    model = foolbox.PyTorchModel(torch_model(oracle), bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.HopSkipJumpAttack(steps=1, constraint="linf")
    pixels, labels = torch.from_numpy(float_pixels(subject)), torch.from_numpy(subject.labels)
    torch.manual_seed(SEED)
    return timed(subject, oracle, lambda: attack.run(model, pixels, labels).numpy())[0]


def check(subject: Subject, threaded: Subject) -> Outcome:
    """Same bits at batch 1, 32 and all and at two threads; no claim that does not hold; nothing outside the ball."""
    first = ours(subject)
    runs = [ours(subject, batch=batch) for batch in (1, 32, len(subject.images))]
    for run in [*runs, ours(threaded)]:
        np.testing.assert_array_equal(run.adversarials, first.adversarials)
        np.testing.assert_array_equal(run.queries, first.queries)
    fooled = first.claimed
    assert linf_levels(first.adversarials[fooled], subject.images[fooled]) <= subject.attack.eps
    np.testing.assert_array_equal(verified(subject, first), fooled)
    return first


def contenders(options: argparse.Namespace) -> Iterator[Contender]:
    yield Contender("robustmq-trt", ours)
    if options.rays:
        yield Contender("the authors' RayS", partial(authors_rays, module=load_module("rays", options.rays)))
    if options.art:
        yield Contender(HOPSKIPJUMP[0], art_hopskipjump, once=True)
    if options.foolbox:
        yield Contender(HOPSKIPJUMP[1], foolbox_hopskipjump)


def row_of(subject: Subject, rival: Contender, needed: int) -> dict[str, Any]:
    return summarise(subject, rival, rival.outcomes[-1].evaluations if rival.name in HOPSKIPJUMP else needed)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--rays", type=Path, help="the authors' RayS.py")
    parser.add_argument("--foolbox", action="store_true", help="run Foolbox too")
    return parser.parse_args()


def main() -> None:
    options = parse()
    data = Path(os.environ["ROBUSTMQ_DATA"])
    with tempfile.TemporaryDirectory() as folder:
        subject = open_subject(data, options, Path(folder))
        with_threads = argparse.Namespace(**{**vars(options), "threads": 2 if options.threads == 1 else 1})
        threaded = replace(subject, engine=open_subject(data, with_threads, Path(folder)).engine)
        reference = check(subject, threaded)
        assert reference.queries is not None
        needed = int(reference.queries.sum())
        print(f"{len(subject.images)} images: same bits at batch 1, 32, {BATCH}, all and at 1 and 2 threads")
        rivals = list(contenders(options))
        subject.choose_batch()
        measure(subject, rivals, options.rounds)
        rows = [row_of(subject, rival, needed) for rival in rivals]
    print(f"{'':20} claimed verified  95 % interval  evals/im   mean median  wall s engine  speed useful  util.")
    print("\n".join(show(row) for row in rows))
    if not options.no_save:
        save(subject, options, rows)


def save(subject: Subject, options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    made = provenance()
    settings = {key: getattr(options, key) for key in ("net", "images", "eps", "queries", "rounds", "threads")}
    settings |= {"batch": BATCH, "best_batch": subject.best_batch, "seed": SEED, "attacked": len(subject.images)}
    document = {
        "date": today,
        "settings": settings,
        "engine": "file" if options.engine else "onnxruntime.quantization, min-max",
        "engine_sha256": subject.engine.provenance()["model_sha256"],
        "rows": rows,
        "contenders": versions(options),
        "provenance": made,
    }
    version = made["packages"].get("onnxruntime", "unknown")
    path = Path(__file__).parent / "results" / f"rays_{options.net}_{today}_onnxruntime-{version}.json"
    write_json(path, document)
    print(f"written: {path.name}")


if __name__ == "__main__":
    main()
