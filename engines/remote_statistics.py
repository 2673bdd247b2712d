"""A server's own clock: cumulative times per request from its statistics, and their difference over a while."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PHASES = ("queue", "compute_input", "compute_infer", "compute_output")
_TOTAL = "success"


def read_statistics(document: Mapping[str, Any]) -> dict[str, dict[str, int]] | None:
    """Read a reply to ``GET /v2/models/MODEL/stats``.

    Returns:
        Nanoseconds and number of requests by phase, ``success`` being the whole; summed over the versions that the
        reply lists, and over all clients of the server. None where the reply holds no such figures.
    """
    entries = document.get("model_stats")
    if not isinstance(entries, list):
        return None
    found = [entry.get("inference_stats") for entry in entries if isinstance(entry, dict)]
    if not found or not all(isinstance(entry, dict) for entry in found):
        return None
    return {
        phase: {unit: sum(_number(entry, phase, unit) for entry in found) for unit in ("count", "ns")}
        for phase in (_TOTAL, *PHASES)
    }


def times_apart(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any] | None:
    """Tell the time inside a server from that outside of it, over the requests between two moments.

    Args:
        before: An engine's provenance at the first moment.
        after: Its provenance at the second.

    Returns:
        Mean milliseconds per request: ``client_ms`` on the client's clock, and by the server's ``server_ms`` with its
        phases, where it tells. ``requests`` and ``images`` are this client's; ``foreign`` counts requests that the
        server answered to others meanwhile. None where the engine is no server, or nothing was asked.
    """
    if "client" not in after or "client" not in before:
        return None
    asked, images, spent = (after["client"][name] - before["client"][name] for name in ("requests", "images", "ns"))
    if asked <= 0:
        return None
    found: dict[str, Any] = {"requests": asked, "images": images, "client_ms": spent / asked / 1e6, "server_ms": None}
    first, last = before.get("server_statistics"), after.get("server_statistics")
    if not first or not last:
        return found
    counted = last[_TOTAL]["count"] - first[_TOTAL]["count"]
    if counted <= 0:
        return found
    means = {phase: (last[phase]["ns"] - first[phase]["ns"]) / counted / 1e6 for phase in (_TOTAL, *PHASES)}
    return {**found, "server_ms": means.pop(_TOTAL), "phases_ms": means, "foreign": counted - asked}


def _number(entry: Any, phase: str, unit: str) -> int:
    figures = entry.get(phase)
    value = figures.get(unit) if isinstance(figures, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
