"""Several classifiers as one: their logits averaged in a single graph, for gradients that no single one would give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import compose, helper, numpy_helper

from ...core.errors import InputError, UnsupportedError
from ...export.prepare import prepare, raise_opset
from ...inputs.pipeline import Pipeline
from .logits import without_softmax

Member = tuple[onnx.ModelProto, Pipeline]


def fused(members: Sequence[Member]) -> onnx.ModelProto:
    """Give one classifier whose logits are the mean of the members' logits.

    It takes the first member's input; what the others want otherwise (mean, deviation) is computed in the graph.

    Args:
        members: Models with the preprocessing each was made for; two or more, of one input shape and class count.

    Raises:
        InputError: If there is only one member.
        UnsupportedError: If the members differ in size, layout, channel order or classes.

    Reference:
        Dong et al. 2018, arXiv 1710.06081, eq. 9 with equal weights: the ensemble in logits, the best of
        the three there.
    """
    if len(members) < 2:
        raise InputError("Expected two or more surrogates for an ensemble, got one. Pass --surrogate more than once.")
    first = members[0][1]
    prepared = [without_softmax(prepare(model).model) for model, _ in members]
    newest = max(entry.version for model in prepared for entry in model.opset_import if entry.domain == "")
    models = [compose.add_prefix(raise_opset(m, newest), f"member{i}/") for i, m in enumerate(prepared)]
    _check_alike(models, [pipeline for _, pipeline in members])
    nodes: list[onnx.NodeProto] = []
    constants = [numpy_helper.from_array(np.array(1 / len(models), dtype=np.float32), "share")]
    for model, (_, pipeline) in zip(models, members, strict=True):
        name = model.graph.input[0].name
        constants += _affine(name, first, pipeline)
        nodes.append(helper.make_node("Mul", ["images", f"{name}/slope"], [f"{name}/scaled"]))
        nodes.append(helper.make_node("Add", [f"{name}/scaled", f"{name}/offset"], [name]))
        nodes += model.graph.node
        constants += model.graph.initializer
    total = models[0].graph.output[0].name
    for index, model in enumerate(models[1:], start=1):
        nodes.append(helper.make_node("Add", [total, model.graph.output[0].name], [f"total_{index}"]))
        total = f"total_{index}"
    nodes.append(helper.make_node("Mul", [total, "share"], ["logits"]))
    images, logits = models[0].graph.input[0], models[0].graph.output[0]
    images.name, logits.name = "images", "logits"
    graph = helper.make_graph(nodes, "ensemble", [images], [logits], constants)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", newest)], ir_version=max(model.ir_version for model in models)
    )


def _affine(name: str, given: Pipeline, wanted: Pipeline) -> list[onnx.TensorProto]:
    """Give slope and offset per channel from one normalisation to another."""
    shape = (1, 3, 1, 1) if given.layout == "nchw" else (1, 1, 1, 3)
    slope = np.array(given.std) / np.array(wanted.std)
    offset = (np.array(given.mean) - np.array(wanted.mean)) / np.array(wanted.std)
    return [
        numpy_helper.from_array(values.astype(np.float32).reshape(shape), f"{name}/{kind}")
        for kind, values in (("slope", slope), ("offset", offset))
    ]


def _check_alike(models: Sequence[onnx.ModelProto], pipelines: Sequence[Pipeline]) -> None:
    def traits(model: onnx.ModelProto, pipeline: Pipeline) -> tuple[object, ...]:
        shapes = [value.type.tensor_type.shape.dim[1:] for value in (model.graph.input[0], model.graph.output[0])]
        sizes = [tuple(dim.dim_value for dim in shape) for shape in shapes]
        return (*sizes, pipeline.layout, pipeline.colour, pipeline.size)

    found = {traits(*pair) for pair in zip(models, pipelines, strict=True)}
    if len(found) > 1:
        listed = " and ".join(sorted(map(str, found)))
        raise UnsupportedError(f"Surrogates of one ensemble must take and give the same shapes, got {listed}.")
