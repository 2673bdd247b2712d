"""From a QDQ file to a TensorRT plan, in the process that calls: `cli/plan.py` calls it in a child. Runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core.errors import EngineError, InputError, UnsupportedError
from .tensorrt_module import Complaints, Ready, member, monitor, ready, start

PLAN_FILE = "engine.plan"
CACHE_FILE = "timing.cache"
_MIB = 1 << 20

Report = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """How a plan is built.

    Attributes:
        batches: Smallest, best and largest batch, for files whose batch is open.
        fp16: Let layers without Q/DQ run in half precision; only where the module still types weakly.
        tf32: Let float layers round their factors to 10 bits.
        workspace_mib: Memory that kernels may use beside weights and activations.
        level: Builder optimization level, 0 to 5.
    """

    batches: tuple[int, int, int] = (1, 8, 32)
    fp16: bool = False
    tf32: bool = False
    workspace_mib: int = 4096
    level: int = 3

    def __post_init__(self) -> None:
        smallest, best, largest = self.batches
        if not 1 <= smallest <= best <= largest:
            raise InputError(f"Expected batches 1 <= smallest <= best <= largest, got {self.batches}.")
        if not 0 <= self.level <= 5:
            raise InputError(f"Expected an optimization level in 0..5, got {self.level}.")


def build(folder: str, settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Build ``model.onnx`` of a folder into ``engine.plan``, using and renewing ``timing.cache`` there.

    Args:
        folder: The folder.
        settings: Fields of `BuildSettings`.
        report: Is told the progress, where TensorRT tells it.

    Returns:
        Version, GPU, typing and precision of what was built, as JSON data.

    Raises:
        UnsupportedError: If there is no GPU or module, or the version can't do what is asked.
        InputError: If TensorRT cannot parse the file.
        EngineError: If TensorRT cannot build it.
    """
    here = ready()
    made = BuildSettings(**{**settings, "batches": tuple(settings["batches"])})
    place = Path(folder)
    plan, cache, typing = build_plan(here, (place / "model.onnx").read_bytes(), made, _read(place / CACHE_FILE), report)
    (place / PLAN_FILE).write_bytes(plan)
    (place / CACHE_FILE).write_bytes(cache)
    return {"tensorrt": here.version, "gpu": here.gpu.to_json(), "typing": typing, "settings": asdict(made)}


def build_plan(
    here: Ready, model: bytes, settings: BuildSettings, cache: bytes, report: Report
) -> tuple[bytes, bytes, str]:
    """Build a plan.

    Returns:
        The plan, the renewed timing cache, and ``strong`` or ``weak`` for how the network was typed.

    Raises:
        UnsupportedError: If TensorRT does not start here, or half precision is asked of a version without weak typing.
        InputError: If TensorRT cannot parse the file.
        EngineError: If TensorRT cannot build it.
    """
    trt, complaints = here.trt, Complaints(here.trt)
    typing = _typing(here, settings)
    builder = start(lambda: trt.Builder(complaints.logger), here, complaints)
    network = builder.create_network(_network_flags(trt, typing))
    parser = trt.OnnxParser(network, complaints.logger)
    if not parser.parse(model):
        errors = [_words(parser.get_error(index)) for index in range(parser.num_errors)]
        raise InputError(
            f"TensorRT {here.version} cannot parse the model: {'; '.join(errors) or complaints.sentence()}."
        )
    config = builder.create_builder_config()
    watching = _configure(trt, config, settings, typing, report)
    timing_cache = config.create_timing_cache(cache)
    config.set_timing_cache(timing_cache, False)
    _add_profile(builder, network, config, settings)
    plan = builder.build_serialized_network(network, config)
    del watching  # TensorRT holds no reference to its monitor
    if plan is None:
        raise EngineError(f"TensorRT {here.version} could not build the engine: {complaints.sentence()}.")
    return bytes(plan), bytes(config.get_timing_cache().serialize()), typing


def _typing(here: Ready, settings: BuildSettings) -> str:
    """Type strongly wherever the version can: the graph's own Q/DQ then decide, and nothing else."""
    strong = member(here.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") is not None
    weak = member(here.trt.BuilderFlag, "INT8") is not None
    if settings.fp16 and not weak:
        raise UnsupportedError(
            f"TensorRT {here.version} has no half-precision switch: it types strongly. Convert the model's float "
            "layers to float16 in the ONNX file instead, or leave --fp16 out."
        )
    return "weak" if settings.fp16 or not strong else "strong"


def _network_flags(trt: Any, typing: str) -> int:
    names = ["EXPLICIT_BATCH", *(["STRONGLY_TYPED"] if typing == "strong" else [])]
    flags = [member(trt.NetworkDefinitionCreationFlag, name) for name in names]
    return sum(1 << int(flag) for flag in flags if flag is not None)


def _configure(trt: Any, config: Any, settings: BuildSettings, typing: str, report: Report) -> Any:
    """Set every switch that moves numbers; gives the progress monitor, which must outlive the build."""
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mib * _MIB)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # without it nothing can be proven
    config.builder_optimization_level = settings.level
    if typing == "weak":
        config.set_flag(member(trt.BuilderFlag, "INT8"))
    if settings.fp16:
        config.set_flag(member(trt.BuilderFlag, "FP16"))
    (config.set_flag if settings.tf32 else config.clear_flag)(trt.BuilderFlag.TF32)
    watching = monitor(trt, lambda phase, step, steps: report({"phase": phase, "step": step, "steps": steps}))
    if watching is not None:
        config.progress_monitor = watching
    return watching


def _add_profile(builder: Any, network: Any, config: Any, settings: BuildSettings) -> None:
    """Open the batch from the smallest to the largest, for a file whose batch is open."""
    image = network.get_input(0)
    shape = tuple(image.shape)
    if shape[0] != -1:
        return
    profile = builder.create_optimization_profile()
    smallest, best, largest = ((batch, *shape[1:]) for batch in settings.batches)
    profile.set_shape(image.name, smallest, best, largest)
    config.add_optimization_profile(profile)


def _words(error: Any) -> str:
    """Word an error of the parser."""
    return f"node {error.node()}: {' '.join(str(error.desc()).split())}".rstrip(".")


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
