"""Write down which names TensorRT's Python module offers, without a GPU and without TensorRT's libraries.

    pip install --no-deps --target /some/folder tensorrt_cu13_bindings==11.4.0.106
    python tools/tensorrt_api.py /some/folder [FOLDER ...]

The bindings alone are a few MB. What they need of the libraries are a dozen symbols that are only called when something
is created; a stand-in compiled here (a C compiler is needed) satisfies the loader. The public names of the classes and
enums that the backend uses go into ``tests/engines/tensorrt_api.json``, one entry per version; nothing else is kept.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[1] / "tests" / "engines" / "tensorrt_api.json"
CLASSES = (
    *("Builder", "EngineInspector", "IBuilderConfig", "ICudaEngine", "IExecutionContext", "IHostMemory", "ILogger"),
    *("INetworkDefinition", "IOptimizationProfile", "IProgressMonitor", "ITensor", "ITimingCache", "OnnxParser"),
    *("ParserError", "Runtime", "BuilderFlag", "DataType", "LayerInformationFormat", "MemoryPoolType"),
    *("NetworkDefinitionCreationFlag", "ProfilingVerbosity", "TensorIOMode"),
)
_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser", "nvparsers")
_LIST = f"""
import json, tensorrt_bindings as trt
found = {{}}
for name in {CLASSES!r}:
    kind = getattr(trt, name, None)
    if kind is not None:
        found[name] = sorted(n for n in dir(kind) if not n.startswith("_"))
print(json.dumps({{"version": trt.__version__, "names": found}}))
"""


def main() -> None:
    """Collect the names of the bindings in each folder of the command line."""
    known = json.loads(TARGET.read_text()) if TARGET.is_file() else {}
    for folder in sys.argv[1:]:
        version, names = names_of(Path(folder))
        known[version] = names
        print(version, len(names), "classes")
    TARGET.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def names_of(folder: Path) -> tuple[str, dict[str, Any]]:
    """List the names of the bindings in a folder, in a process of its own."""
    with tempfile.TemporaryDirectory() as libraries:
        stand_in(folder, Path(libraries))
        environment = {**os.environ, "LD_LIBRARY_PATH": libraries, "PYTHONPATH": str(folder)}
        listed = subprocess.run(
            [sys.executable, "-c", _LIST], env=environment, capture_output=True, text=True, check=True
        )
    found = json.loads(listed.stdout)
    return found["version"], found["names"]


def stand_in(folder: Path, libraries: Path) -> None:
    """Compile libraries that hold the symbols the bindings miss, each a function that gives NULL."""
    module = next(folder.glob("tensorrt_bindings/tensorrt*.so"))
    missing = subprocess.run(
        ["nm", "-D", "--undefined-only", module], capture_output=True, text=True, check=True
    ).stdout
    wanted = [symbol for symbol in re.findall(r" U (\w+)$", missing, re.MULTILINE) if _is_tensorrt(symbol)]
    source = libraries / "stand_in.c"
    source.write_text("\n".join(f"void *{symbol}(void) {{ return 0; }}" for symbol in wanted))
    needed = subprocess.run(["readelf", "-d", module], capture_output=True, text=True, check=True).stdout
    for name in re.findall(r"\[(lib(?:" + "|".join(_LIBRARIES) + r")\.so\.\d+)\]", needed):
        command = ["cc", "-shared", "-fPIC", "-o", libraries / name, f"-Wl,-soname,{name}", source]
        subprocess.run(command, check=True)


def _is_tensorrt(symbol: str) -> bool:
    return symbol.startswith(("createInfer", "createNv", "getBuilder", "getNv", "getPlugin", "initLib", "_ZN"))


if __name__ == "__main__":
    main()
