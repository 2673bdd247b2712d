"""What the backend asks of TensorRT's module, read from its source: classes, names, calls, and what it writes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parents[2] / "engines"
# What a variable of the backend holds, by its name; a method in a chain stands for what it gives.
HOLDS = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "_context": "IExecutionContext",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "error": "ParserError",
    "get_timing_cache": "ITimingCache",
    "image": "ITensor",
    "inspector": "EngineInspector",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "timing_cache": "ITimingCache",
}
ONLY_WHERE_OFFERED = {("IBuilderConfig", "progress_monitor")}


class Call(NamedTuple):
    """A call of a method; `__init__` stands for the class."""

    owner: str
    name: str
    positional: int
    keywords: frozenset[str]


def names() -> set[tuple[str, str]]:
    """Pairs of class and name: `trt.Class.NAME`, and `variable.name` for variables that hold TensorRT's objects."""
    found = ((owner(node), node.attr) for node in _attributes())
    return {(kind, name) for kind, name in found if kind and not name.startswith("__")}


def written() -> set[tuple[str, str]]:
    """Those of the names that something is assigned to."""
    stored = ((owner(node), node.attr) for node in _attributes() if isinstance(node.ctx, ast.Store))
    return {(kind, name) for kind, name in stored if kind}


def classes() -> set[str]:
    """Names `trt.Class`."""
    return {node.attr for node in _attributes() if _is_module(node.value)} - {"__version__"}


def optional() -> set[tuple[str, str]]:
    """Pairs of class and name asked by `member(trt.Class, "NAME")`, which some versions lack."""
    found = set()
    for node in _nodes():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "member":
            asked, name = node.args
            if isinstance(asked, ast.Attribute) and isinstance(name, ast.Constant):
                found.add((asked.attr, str(name.value)))
    return found


def calls() -> set[Call]:
    """Calls of methods of TensorRT's objects, and of its classes."""
    found = set()
    for node in _nodes():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            method, made = node.func.attr, _is_module(node.func.value)
            kind, name = (method, "__init__") if made else (owner(node.func), method)
            if kind and not method.startswith("__"):
                found.add(Call(kind, name, len(node.args), frozenset(str(given.arg) for given in node.keywords)))
    return found


def assigned() -> set[tuple[str, str, str]]:
    """Class of a variable by `HOLDS`, and the class and method that it is assigned from."""
    found = set()
    for node in _nodes():
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            target, method = node.targets[0], node.value.func
            if isinstance(method, ast.Attribute) and owner(method) and _name(target) in HOLDS:
                found.add((HOLDS[_name(target)], owner(method), method.attr))
    return found


def driver_names(file: str) -> list[str]:
    """What a file of device memory asks of its driver package, members of enums with their enum in front."""
    nodes = ast.walk(ast.parse((FOLDER / file).read_text()))
    texts = [ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)]
    found = (re.fullmatch(r"(?:self\._)?driver\.([\w.]+)", text) for text in texts)
    return sorted({match[1] for match in found if match})


def owner(node: ast.Attribute) -> str:
    """The class whose name an attribute is; empty where it is none of TensorRT's."""
    base = node.value
    if isinstance(base, ast.Attribute) and _is_module(base.value):
        return base.attr
    return HOLDS.get(_name(base.func if isinstance(base, ast.Call) else base), "")


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _is_module(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "trt"


def _attributes() -> Iterator[ast.Attribute]:
    return (node for node in _nodes() if isinstance(node, ast.Attribute))


def _nodes() -> Iterator[ast.AST]:
    for path in sorted(FOLDER.glob("tensorrt*.py")):
        yield from ast.walk(ast.parse(path.read_text()))
