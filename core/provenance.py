"""Where a number was made: machine, processor features, threads and package versions."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    "robustmq-trt",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "opencv-python-headless",
    "pillow",
    "simplejpeg",
    "av",
    "cykooz-resizer",
    "tensorrt",
    "openvino",
    "ai-edge-litert",
    "torch",
)

SWITCHES = (
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "NPY_DISABLE_CPU_FEATURES",
    "OPENCV_CPU_DISABLE",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_TF32_OVERRIDE",
)
"""Environment variables by which libraries choose other kernels or devices."""

# The features that choose between integer kernels on x86 and Arm.
_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm", "sve")


def provenance() -> dict[str, Any]:
    """Describe this machine and environment as JSON data."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": cpu(),
        "gpus": gpus(),
        "packages": package_versions(),
        "environment": switches(),
    }


def package_versions() -> dict[str, str]:
    """Give the versions of the packages that can move a number, those installed only."""
    return {name: version for name in _PACKAGES if (version := _version(name)) is not None}


def switches() -> dict[str, str]:
    """Give the environment variables that choose kernels or devices, those set only."""
    return {name: os.environ[name] for name in SWITCHES if name in os.environ}


def cpu() -> dict[str, Any]:
    """Give the processor's name, the cores this process may use and the features that choose integer kernels."""
    fields = _cpuinfo()
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    return {
        "model": fields.get("model name", platform.processor() or platform.machine()),
        "cores": available_cores(),
        "features": [name for name in _FEATURES if name in flags],
    }


def available_cores() -> int:
    """Count the cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus() -> list[str]:
    """Name the NVIDIA GPUs with driver version, or give an empty list where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpuinfo() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    first, _, _ = text.partition("\n\n")
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
