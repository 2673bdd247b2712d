"""What can be said of a model behind a server: what it declares, and that nothing of it is proven."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .audit import Audit, LayerVerdict
from .remote_metadata import ServerModel

_REASON = "unprovable: the protocol does not say which kernels a server runs"


def audit_server(model: ServerModel, declared: Mapping[str, Any], identity: Mapping[str, Any]) -> Audit:
    """Give the audit of a remote model: one layer of unknown arithmetic, and the server's declarations as notes.

    Args:
        model: What the server says about the model.
        declared: The model's configuration where the server shows it, else empty.
        identity: The engine's provenance.
    """
    said = {"platform": model.platform, **_declarations(declared)}
    words = ", ".join(f"{name} '{value}'" for name, value in said.items() if value)
    note = f"The server declares {words}: a declaration, no proof." if words else "The server declares nothing."
    return Audit(
        backend="remote",
        layers=(
            LayerVerdict(
                name=model.name, operator="(whole model)", kernel="", macs=None, compute="unknown", reason=_REASON
            ),
        ),
        evidence=("the server's metadata",),
        notes=(f"{_REASON}. Audit the file that is served instead.", note),
        identity=identity,
    )


def _declarations(configuration: Mapping[str, Any]) -> dict[str, str]:
    """Pick what a model configuration says about arithmetic."""
    found = {"backend": configuration.get("backend"), "runtime": configuration.get("runtime")}
    optimization = configuration.get("optimization")
    if isinstance(optimization, dict) and "execution_accelerators" in optimization:
        found["execution accelerators"] = str(optimization["execution_accelerators"])[:200]
    return {name: value for name, value in found.items() if isinstance(value, str)}
