"""The engine inspector's JSON, in the words of TensorRT 8.6 to 10 and in those of 11, as layers. No verdict here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..core.errors import InputError

Number = Literal["integer", "float", ""]

_INTEGER = re.compile(r"u?int8(?!\d)", re.IGNORECASE)
_FLOAT = re.compile(r"fp32|fp16|bf16|fp8|fp4|float|half", re.IGNORECASE)
_MULTIPLIES = re.compile(r"conv|gemm|matrixmultiply|fullyconnected|matmul", re.IGNORECASE)
_OPAQUE = re.compile(r"myelin|foreignnode|kgen|plugin|kernel", re.IGNORECASE)  # several layers in one, or anybody's
_MOVES = frozenset(("Reformat", "Reorder", "NoOp", "Constant", "Signal", "Wait", "Shuffle"))


@dataclass(frozen=True, kw_only=True)
class InspectedLayer:
    """One layer of a plan.

    Attributes:
        name: TensorRT's name, made of those of the layers it fused.
        kind: Layer type, with the parameter type where there is one.
        sources: Names of the ONNX nodes in it, where the plan kept them.
        tactic: Name of the kernel; empty where there is none.
        inputs: Type of each input as a number, empty where the plan does not say.
        outputs: Type of each output.
        weights: Type of the weights; empty where the plan does not say.
        macs: Multiply-accumulates for one image, or None where they can't be counted.
        detailed: Whether the plan says more of the layer than its name.
    """

    name: str
    kind: str
    sources: tuple[str, ...] = ()
    tactic: str = ""
    inputs: tuple[Number, ...] = ()
    outputs: tuple[Number, ...] = ()
    weights: Number = ""
    macs: int | None = None
    detailed: bool = True

    @property
    def multiplies(self) -> bool:
        """Whether the layer multiplies and accumulates: by type or kernel, and by name where those say nothing."""
        if self.kind.partition(" ")[0] in _MOVES or "Reformatting CopyNode" in self.name:
            return False
        hidden = not self.detailed or _OPAQUE.search(self.kind)
        texts = (self.kind, self.tactic, *((self.name, *self.sources) if hidden else ()))
        return any(_MULTIPLIES.search(text) for text in texts)


def read_layers(text: str) -> list[InspectedLayer]:
    """Read what ``get_engine_information`` gave.

    Args:
        text: The JSON text, of any version from 8.6 on.

    Raises:
        InputError: If the text is no such JSON.
    """
    try:
        document = json.loads(text)
        layers = document["Layers"]
        return [_layer(entry) for entry in layers]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"The engine inspector gave no list of layers: {type(error).__name__}: {error}.") from error


def _layer(entry: Any) -> InspectedLayer:
    if isinstance(entry, str):  # built with layer names only
        return InspectedLayer(name=entry, kind="", detailed=False)
    kind = " ".join(str(entry[key]) for key in ("LayerType", "ParameterType") if entry.get(key))
    return InspectedLayer(
        name=str(entry.get("Name", "")),
        kind=kind,
        sources=tuple(re.findall(r"\[ONNX Layer: ([^\]]+)\]", str(entry.get("Metadata", "")))),
        tactic=str(entry.get("TacticName", "")),
        inputs=tuple(_type(tensor) for tensor in entry.get("Inputs", ())),
        outputs=tuple(_type(tensor) for tensor in entry.get("Outputs", ())),
        weights=_number(str(entry.get("Weights", {}).get("Type", ""))),
        macs=_macs(entry),
        detailed=bool(kind) and "Inputs" in entry,
    )


def _type(tensor: Mapping[str, Any]) -> Number:
    """Give a tensor's type: 11 keeps it apart from the format, older versions word both in one sentence."""
    for key in ("DataType", "Datatype", "Format/Datatype"):
        if tensor.get(key):
            return _number(str(tensor[key]))
    return ""


def _number(words: str) -> Number:
    if _INTEGER.search(words):
        return "integer"
    return "float" if _FLOAT.search(words) else ""


def _macs(entry: Mapping[str, Any]) -> int | None:
    """Count a convolution or matrix product: every weight once for each place of the output.

    A deconvolution uses every weight once for each place of its input.
    """
    count = entry.get("Weights", {}).get("Count")
    tensors = entry.get("Inputs" if "econv" in str(entry.get("ParameterType", "")) else "Outputs", ())
    if not isinstance(count, int) or not tensors:
        return None
    places = _places(tensors[0].get("Dimensions", ()))
    return None if places is None else places * count


def _places(dimensions: Sequence[int]) -> int | None:
    """Give the rows times columns of (N, C, H, W), or 1 for (N, C); None where a side is open."""
    sides = list(dimensions)[2:]
    if len(dimensions) < 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        return None
    return math.prod(sides)
