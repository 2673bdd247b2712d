import json

import numpy as np
import pytest

from robustmq_trt.core.errors import EngineError, InputError
from robustmq_trt.engines.protocol import EngineSpec
from robustmq_trt.evaluate.energy_counters import Counter, Source
from robustmq_trt.evaluate.latency import measure_latency
from robustmq_trt.evaluate.stopwatch import Budget
from robustmq_trt.evaluate.target import Target
from robustmq_trt.inputs.pipeline import Pipeline

MS = 1_000_000
QUICK = Budget(seconds=0.06, rounds=6, min_queries=6, warm_up_runs=1, warm_up_seconds=0, settle_runs=0, batches=(1, 4))
IMAGES = [np.full((8, 8, 3), level, np.uint8) for level in range(5)]
PIPELINE = Pipeline(
    name="tiny",
    decoder="pillow",
    colour="rgb",
    resize="pillow-bilinear",
    geometry="squash",
    crop_fraction=1.0,
    size=(8, 8),
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)


class FakeTime:
    def __init__(self) -> None:
        self.now = 0

    def clock(self) -> int:
        return self.now


class FakeEngine:
    """An engine that takes a fixed time per call and per image, and slows down by a factor per call."""

    def __init__(
        self, time: FakeTime, *, call_ms: float = 0, image_ms: float, fixed_batch: int | None = None, drift: float = 1
    ) -> None:
        self.spec = EngineSpec(
            input_name="x",
            height=8,
            width=8,
            channels=3,
            layout="nchw",
            dtype="float32",
            fixed_batch=fixed_batch,
            classes=2,
            output_kind="logits",
        )
        self.sizes: set[int] = set()
        self._time, self._call, self._image, self._drift, self._factor = time, call_ms, image_ms, drift, 1.0

    def infer(self, batch: np.ndarray) -> np.ndarray:
        self.sizes.add(len(batch))
        self._time.now += round((self._call + self._image * len(batch)) * self._factor * MS)
        self._factor *= self._drift
        return np.zeros((len(batch), 2), np.float32)

    def provenance(self) -> dict[str, object]:
        return {}


def target(name: str, engine: FakeEngine) -> Target:
    return Target(name=name, engine=engine, pipeline=PIPELINE, identity={"model_sha256": name})


def measure(time: FakeTime, *targets: Target, scopes=("engine",)):
    return measure_latency(targets, IMAGES, budget=QUICK, scopes=scopes, clock=time.clock)


def test_single_stream_gives_the_percentiles_of_one_image():
    time = FakeTime()

    single, _ = measure(time, target("a", FakeEngine(time, image_ms=2))).timings

    assert (single.scenario, single.scope, single.batch, single.unit) == ("single-stream", "engine", 1, "ms")
    assert [single.statistics[name].value for name in ("p50", "p90", "p99")] == [2, 2, 2]
    assert single.rounds == (2.0,) * 6
    assert single.stable


def test_offline_gives_the_rate_of_the_fastest_batch():
    time = FakeTime()

    _, offline = measure(time, target("a", FakeEngine(time, call_ms=4, image_ms=1))).timings

    assert (offline.scenario, offline.batch, offline.unit) == ("offline", 4, "images/s")
    assert offline.statistics["throughput"].value == pytest.approx(500)  # 4 images in 8 ms, not 1 in 5


def test_speedup_is_against_the_first_target_in_both_scenarios():
    time = FakeTime()
    slow, fast = (FakeEngine(time, image_ms=ms) for ms in (6, 2))

    timings = measure(time, target("slow", slow), target("fast", fast)).timings

    assert [timing.speedup and round(timing.speedup.value, 6) for timing in timings] == [None, 3.0, None, 3.0]


def test_fixed_batch_engine_gets_its_one_image_in_a_full_batch():
    time = FakeTime()
    engine = FakeEngine(time, image_ms=1, fixed_batch=4)

    single, offline = measure(time, target("a", engine), scopes=("end-to-end",)).timings

    assert engine.sizes == {4}
    assert (single.batch, single.statistics["p50"].value) == (4, 4.0)
    assert offline.statistics["throughput"].value == pytest.approx(1000)


def test_rounds_that_lie_apart_are_called_unstable_in_timing_and_records():
    time = FakeTime()

    report = measure(time, target("a", FakeEngine(time, image_ms=1, drift=1.05)))

    assert not report.timings[0].stable
    assert report.timings[0].to_json()["verdict"] == "unstable"
    assert {record.flags for record in report.records()} == {("unstable",)}


def test_end_to_end_starts_at_the_image_and_says_so():
    time = FakeTime()

    report = measure(time, target("a", FakeEngine(time, image_ms=1)), scopes=("engine", "end-to-end"))

    definitions = {timing.scope: timing.definition for timing in report.timings}
    assert definitions["engine"].startswith("normalised tensor in memory -> scores")
    assert "decode, resize, crop, normalise -> scores" in definitions["end-to-end"]


def test_records_carry_interval_unit_definition_and_identity():
    time = FakeTime()
    slow, fast = (FakeEngine(time, image_ms=ms) for ms in (6, 2))

    report = measure(time, target("slow", slow), target("fast", fast))

    rows = {(row.engine, row.condition, row.metric): row for row in report.records()}
    p50 = rows["fast", "latency:single-stream:engine", "p50"]
    assert (p50.value, p50.unit, p50.identity["model_sha256"], p50.identity["batch"]) == (2.0, "ms", "fast", 1)
    assert p50.low <= p50.value <= p50.high
    assert p50.identity["definition"]
    assert rows["fast", "latency:offline:engine", "throughput"].unit == "images/s"
    assert rows["fast", "latency:offline:engine", "speedup"].value == pytest.approx(3.0)
    assert ("slow", "latency:offline:engine", "speedup") not in rows
    json.dumps([row.to_json() for row in report.records()], allow_nan=False)
    json.dumps(report.to_json(), allow_nan=False)


def test_targets_of_one_name_or_no_image_are_refused():
    time = FakeTime()
    one = target("a", FakeEngine(time, image_ms=1))

    with pytest.raises(InputError, match="differently named"):
        measure(time, one, one)
    with pytest.raises(InputError, match="at least one image"):
        measure_latency([one], [])


def test_the_clock_says_when_it_holds_a_process_boundary():
    time = FakeTime()
    plain, apart = FakeEngine(time, image_ms=1), FakeEngine(time, image_ms=1)
    apart.provenance = lambda: {"isolated": {"call_seconds": 60}}

    timings = measure(time, target("plain", plain), target("apart", apart)).timings

    assert ["a process of its own" in timing.definition for timing in timings] == [False, True, False, True]


def test_energy_is_metered_at_the_fastest_batch_and_stands_in_the_records():
    time = FakeTime()
    engine = FakeEngine(time, call_ms=2, image_ms=1)
    watts = Source(name="RAPL", counters=(Counter(name="package-0", read=lambda: time.now * 3 // 1000),))  # 3 W

    report = measure_latency(
        [target("a", engine)], IMAGES, budget=QUICK, scopes=("engine",), clock=time.clock, sources=[watts]
    )

    (energy,) = report.energies
    assert (energy.batch, energy.per_image.value) == (4, pytest.approx(3 * 0.006 / 4))
    record = report.records()[-1]
    assert (record.engine, record.metric, record.unit) == ("a", "energy_per_image", "J/image")
    assert json.loads(json.dumps(report.to_json()))["energy"][0]["counters"] == ["package-0"]


def raising(engine: FakeEngine, after: int) -> FakeEngine:
    left, answer = iter(range(after)), engine.infer

    def infer(batch: np.ndarray) -> np.ndarray:
        if next(left, None) is None:
            raise EngineError("The engine died.")
        return answer(batch)

    engine.infer = infer
    return engine


@pytest.mark.parametrize("calls", [0, 4, 12])  # in the warm-up, in the first round, in a later one
def test_an_engine_that_fails_is_a_timing_without_figures_and_the_others_are_kept(calls: int):
    time = FakeTime()
    good, bad = FakeEngine(time, image_ms=2), raising(FakeEngine(time, image_ms=2), calls)

    report = measure(time, target("good", good), target("bad", bad))

    assert [(t.engine, t.verdict, t.reason, bool(t.statistics)) for t in report.timings] == [
        ("good", "stable", "", True),
        ("bad", "failed", "failed: The engine died.", False),
    ] * 2
    failed = [(r.condition, r.metric, r.n, r.flags) for r in report.records() if r.engine == "bad"]
    assert failed == [
        ("latency:single-stream:engine", "p50", 0, ("failed: The engine died.",)),
        ("latency:offline:engine", "throughput", 0, ("failed: The engine died.",)),
    ]
    json.dumps([record.to_json() for record in report.records()], allow_nan=False)
    json.dumps(report.to_json(), allow_nan=False)


def test_nothing_is_compared_with_a_first_engine_that_failed():
    time = FakeTime()
    bad, good = raising(FakeEngine(time, image_ms=2), 0), FakeEngine(time, image_ms=2)

    timings = measure(time, target("bad", bad), target("good", good)).timings

    assert [(timing.verdict, timing.speedup) for timing in timings] == [("failed", None), ("stable", None)] * 2


def test_scores_of_a_wrong_shape_at_one_batch_size_cost_the_offline_figure_alone():
    time = FakeTime()
    engine = FakeEngine(time, image_ms=2)
    answer = engine.infer
    engine.infer = lambda batch: answer(batch)[:1]

    single, offline = measure(time, target("a", engine)).timings

    assert (single.verdict, offline.verdict, offline.batch) == ("stable", "failed", 4)
    assert "scores of shape (1, 2) for 4 images" in offline.reason


def test_whatever_a_runtime_raises_is_an_engine_that_failed():
    time = FakeTime()
    engine = FakeEngine(time, image_ms=2)
    engine.infer = lambda batch: [][len(batch)]

    single, _ = measure(time, target("a", engine)).timings

    assert single.reason.startswith("failed: IndexError: ")


def test_an_image_that_does_not_decode_is_refused_and_blamed_on_no_engine():
    time = FakeTime()

    with pytest.raises(InputError):
        measure_latency(
            [target("a", FakeEngine(time, image_ms=1))],
            [b"torn"],
            budget=QUICK,
            scopes=("end-to-end",),
            clock=time.clock,
        )


def test_an_engine_without_an_offline_figure_is_not_metered():
    time = FakeTime()
    watts = Source(name="RAPL", counters=(Counter(name="package-0", read=lambda: time.now * 3 // 1000),))
    good, bad = FakeEngine(time, image_ms=2), raising(FakeEngine(time, image_ms=2), 0)
    targets = [target("good", good), target("bad", bad)]

    report = measure_latency(targets, IMAGES, budget=QUICK, scopes=("engine",), clock=time.clock, sources=[watts])

    metered, not_metered = report.energies
    assert metered.per_image is not None
    assert (not_metered.per_image, not_metered.reason) == (None, "failed: The engine died.")
