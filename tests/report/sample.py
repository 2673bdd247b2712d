"""A report document by hand, with figures of the size real runs give."""

from typing import Any

import numpy as np

from robustmq_trt.core.record import Comparison, Record
from robustmq_trt.core.statistics import minimum_detectable_difference, wilson

FLOAT, INT8 = "MobileNetV2 float", "MobileNetV2 INT8"
IMAGES = 472


def _record(
    engine: str, condition: str, metric: str, right: int, n: int, test: dict[str, Any] | None, flags: tuple[str, ...]
) -> dict[str, Any]:
    rate = wilson(right, n)
    comparison = None if test is None else Comparison(reference=FLOAT, **test)
    record = Record(
        engine=engine,
        condition=condition,
        metric=metric,
        value=rate.value,
        low=rate.low,
        high=rate.high,
        n=n,
        seed=0,
        flags=flags,
        identity={"model_sha256": "a" * 64, "score_access": "logits"},
        comparison=comparison,
    )
    return record.to_json()


def _pair(
    condition: str,
    metric: str,
    float_right: int,
    gained: int,
    lost: int,
    *,
    n: int = IMAGES,
    p: float = 1.0,
    flags: tuple[str, ...] = (),
) -> list[dict[str, Any]]:
    gap, spread = (gained - lost) / n, 1.96 * np.sqrt(gained + lost) / n
    verdict = "not distinguishable" if p >= 0.05 else ("worse" if gap < 0 else "better")
    test = {
        "difference": gap,
        "low": gap - spread,
        "high": gap + spread,
        "p_value": p / 12,
        "p_holm": p,
        "wrong_to_right": gained,
        "right_to_wrong": lost,
        "detectable": minimum_detectable_difference(gained + lost, n),
        "verdict": verdict,
    }
    return [
        _record(FLOAT, condition, metric, float_right, n, None, ()),
        _record(INT8, condition, metric, float_right + gained - lost, n, test, flags),
    ]


def _queries(condition: str, metric: str, engine: str, value: float, low: float, high: float) -> dict[str, Any]:
    record = Record(
        engine=engine,
        condition=condition,
        metric=metric,
        value=value,
        low=low,
        high=high,
        n=200,
        seed=0,
        unit="queries",
    )
    return record.to_json()


def _records() -> list[dict[str, Any]]:
    square, transfer = "square:eps=8,queries=1000", "mifgsm:eps=8,steps=20"
    ties = ("8.5 % of queries tie for the top score: the integer engine gives few distinct scores",)
    rows = _pair("clean", "accuracy", 424, 4, 5)
    rows.append(_record(INT8, "clean", "flips_right_to_wrong", 5, IMAGES, None, ()))
    for kind, figures in _CORRUPTIONS.items():
        for severity, (right, gained, lost, p) in zip((1, 3, 5), figures, strict=True):
            rows += _pair(f"{kind}:{severity}", "accuracy", right, gained, lost, p=p)
    rows += _pair("corruptions", "mean_accuracy", 347, 42, 65, p=0.31)
    for preset, (right, gained, lost) in _PRESETS.items():
        rows += _pair(f"preset:{preset}", "accuracy", right, gained, lost)
    rows += _pair(square, "robust_accuracy", 11, 1, 6, n=200, p=0.88, flags=ties)
    rows += _pair(square, "adversarial_robustness", 11, 1, 6, n=180)
    rows += _pair(square, "common_correct_accuracy", 11, 1, 6, n=177)
    rows += [
        _queries(square, "mean_queries", FLOAT, 96.4, 71.0, 124.5),
        _queries(square, "mean_queries", INT8, 61.2, 44.8, 80.1),
    ]
    rows += [_queries(square, "median_queries", FLOAT, 18, 14, 25), _queries(square, "median_queries", INT8, 12, 9, 17)]
    rows += _pair(transfer, "robust_accuracy", 4, 21, 0, n=200, p=0.0001)
    rows += _pair(transfer, "adversarial_robustness", 4, 21, 0, n=180)
    rows += _pair("worst-case:eps=8", "robust_accuracy", 2, 3, 1, n=200)
    return rows


_CORRUPTIONS = {
    "gaussian_noise": ((404, 5, 9, 1.0), (341, 10, 25, 0.27), (214, 9, 41, 0.0001)),
    "motion_blur": ((401, 6, 7, 1.0), (312, 11, 15, 1.0), (203, 8, 14, 1.0)),
    "brightness": ((418, 4, 6, 1.0), (408, 7, 6, 1.0), (381, 8, 11, 1.0)),
    "jpeg": ((411, 3, 7, 1.0), (397, 6, 9, 1.0), (322, 9, 19, 0.9)),
}
_PRESETS = {
    "torchvision": (423, 4, 6),
    "opencv-linear": (419, 6, 7),
    "opencv-nearest": (398, 9, 14),
    "opencv-area": (422, 5, 6),
}


def _timings() -> list[dict[str, Any]]:
    clocks = {
        "engine": "one call of the session with a ready float32 tensor, batch 1; 2 threads; after 50 warm-up calls.",
        "end-to-end": "JPEG bytes in memory to class index: decode, resize, session, argmax; batch 1; 2 threads.",
    }
    rows = []
    for engine, factor in ((FLOAT, 2.8), (INT8, 1.0)):
        for scope, base in (("engine", 3.42), ("end-to-end", 9.1)):
            for metric, tail in (("p50_ms", 1.0), ("p90_ms", 1.09), ("p99_ms", 1.34)):
                value = (base * factor if scope == "engine" else base + 3.42 * (factor - 1)) * tail
                rows.append(_timing(engine, "single-stream", scope, metric, value, clocks[scope]))
        clock = "all images in batches of 32 through the session, wall time; 2 threads."
        rows.append(
            _timing(
                engine,
                "offline",
                "engine",
                "images_per_second",
                402 / factor,
                clock,
                "unstable" if engine == INT8 else "stable",
            )
        )
    return rows


def _timing(
    engine: str, scenario: str, scope: str, metric: str, value: float, clock: str, verdict: str = "stable"
) -> dict[str, Any]:
    return {
        "engine": engine,
        "scenario": scenario,
        "scope": scope,
        "metric": metric,
        "value": value,
        "low": value * 0.98,
        "high": value * 1.03,
        "n": 500,
        "verdict": verdict,
        "clock": clock,
    }


def _audit() -> dict[str, Any]:
    layers = [
        {
            "name": f"features/{index}/conv/Conv_quant",
            "operator": "Conv",
            "kernel": "QLinearConv",
            "macs": 5_400_000 + 91_000 * index,
            "compute": "integer",
            "reason": None,
            "share_of_time": 0.018,
        }
        for index in range(52)
    ]
    last = {"name": "classifier/Gemm", "operator": "Gemm", "kernel": "Gemm", "macs": 1_280_000, "compute": "float"}
    layers.append({**last, "reason": "its output is not quantized", "share_of_time": 0.031})
    layers.append(
        {
            **layers[0],
            "name": "input/QuantizeLinear",
            "operator": "QuantizeLinear",
            "kernel": "QuantizeLinear",
            "macs": 0,
            "compute": "unknown",
            "share_of_time": None,
        }
    )
    return {"engine": INT8, "integer_coverage": 0.996, "layers": layers, "evidence": ["optimized graph", "profile"]}


def _curves() -> list[dict[str, Any]]:
    curves = []
    for kind, figures in _CORRUPTIONS.items():
        series = []
        for engine, extra in ((FLOAT, 0), (INT8, 1)):
            rights = [424 - extra] + [right + extra * (gained - lost) for right, gained, lost, _ in figures]
            series.append(
                {
                    "engine": engine,
                    "points": [_point(x, right, IMAGES) for x, right in zip((0, 1, 3, 5), rights, strict=True)],
                }
            )
        curves.append({"title": kind.replace("_", " "), "x_label": "severity", "y_label": "accuracy", "series": series})
    queries = (0, 10, 50, 100, 500, 1000)
    series = [
        {"engine": engine, "points": [_point(x, right, 200) for x, right in zip(queries, rights, strict=True)]}
        for engine, rights in ((FLOAT, (180, 122, 55, 38, 15, 11)), (INT8, (179, 104, 41, 25, 9, 6)))
    ]
    curves.append(
        {"title": "Square at 8/255", "x_label": "queries spent", "y_label": "robust accuracy", "series": series}
    )
    return curves


def _point(x: float, right: int, n: int) -> dict[str, Any]:
    rate = wilson(right, n)
    return {"x": x, "y": rate.value, "low": rate.low, "high": rate.high, "n": n}


def _target(name: str, precision: str, size: int, coverage: float, role: str) -> dict[str, Any]:
    return {
        "name": name,
        "file": f"mobilenet_v2_{precision}.onnx",
        "sha256": ("0f" if role == "reference" else "c3") * 32,
        "precision": precision,
        "size_bytes": size,
        "integer_coverage": coverage,
        "role": role,
        "engine": "onnxruntime 1.31.1 CPU",
    }


def make_sample(examples: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "format": "robustmq-report/1",
        "title": "MobileNetV2 in INT8 against float",
        "created": "2026-11-20T14:05:33Z",
        "command": "robustmq-trt evaluate mobilenet_v2_fp32.onnx mobilenet_v2_w8a8.onnx --data images",
        "targets": [
            _target(FLOAT, "fp32", 13_964_571, 0.0, "reference"),
            _target(INT8, "w8a8", 3_655_033, 0.996, "candidate"),
        ],
        "dataset": {
            "name": "imagenet600, 472 of 600",
            "images": IMAGES,
            "classes": 1000,
            "manifest_sha256": "5b" * 32,
            "failures": [{"name": "n02105855_broken.JPEG", "reason": "not decodable: image file is truncated"}],
        },
        "records": _records(),
        "latency": _timings(),
        "audits": [_audit()],
        "examples": examples,
        "curves": _curves(),
        "totals": {
            "cells": 40,
            "measured": 38,
            "skipped": 1,
            "failed": 1,
            "reasons": [
                {
                    "cell": "pgd:eps=8,steps=20",
                    "reason": "skipped: the INT8 twin has no gradient through QLinearSoftmax",
                },
                {"cell": "glass_blur:5", "reason": "failed: engine process ended with signal 11 after 88 images"},
            ],
        },
        "provenance": {
            "packages": {"robustmq-trt": "0.1.0", "onnxruntime": "1.31.1", "numpy": "2.4.0", "opencv": "5.0.0"},
            "machine": {"cpu": "x86_64, AVX512-VNNI", "cores": "2", "gpu": "none", "threads": "2"},
            "seed": "0",
            "calibration": {"method": "entropy", "images": "128", "preset": "tflite-mobilenet"},
        },
    }
