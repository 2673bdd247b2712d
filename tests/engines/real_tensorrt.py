"""TensorRT's real Python bindings without its libraries: brought by pip, their symbols satisfied by a stand-in.

The bindings alone are about 1 MB. What they need of the libraries is called when something is created, not before.

    python tests/engines/real_tensorrt.py

renews ``tensorrt_api.json`` from them, for machines without a package index: the public names of the classes below, one
entry per version; nothing else is kept.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

LISTING = Path(__file__).with_name("tensorrt_api.json")
WHEELS = {
    "8.6.1": ("tensorrt-bindings==8.6.1",),
    "10.16.1.11": ("tensorrt-cu13-bindings==10.16.1.11",),
    # And the driver package of the extra `tensorrt`, 8 MB.
    "11.4.0.106": ("tensorrt-cu13-bindings==11.4.0.106", "cuda-bindings==13.5.0", "cuda-pathfinder==1.9.0"),
}
CLASSES = (
    *("Builder", "EngineInspector", "IBuilderConfig", "ICudaEngine", "IExecutionContext", "IHostMemory", "ILogger"),
    *("INetworkDefinition", "IOptimizationProfile", "IProgressMonitor", "ITensor", "ITimingCache", "OnnxParser"),
    *("ParserError", "Runtime", "BuilderFlag", "DataType", "LayerInformationFormat", "MemoryPoolType"),
    *("NetworkDefinitionCreationFlag", "ProfilingVerbosity", "TensorIOMode"),
)
_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser", "nvparsers")
_PIP = (
    *("-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--no-input"),
    *("--disable-pip-version-check", "--retries", "1", "--timeout", "15"),
)
_SECONDS = 120
_DESCRIBE = """
import inspect, json, sys
import tensorrt

def about(kind, name):
    value = inspect.getattr_static(kind, name)
    return {
        "signatures": value.__doc__ or "" if inspect.isroutine(value) else "",
        "writable": isinstance(value, property) and value.fset is not None,
    }

def public(name):
    return name == "__init__" or not name.startswith("_")

kinds = {name: getattr(tensorrt, name) for name in sys.argv[1:] if hasattr(tensorrt, name)}
members = {owner: {name: about(kind, name) for name in dir(kind) if public(name)} for owner, kind in kinds.items()}
print(json.dumps({"version": tensorrt.__version__, "members": members}))
"""


class UnavailableError(Exception):
    """The bindings can't be had here; the message is pip's or the compiler's own."""


@dataclass(frozen=True, kw_only=True)
class Bindings:
    """The bindings of one version, importable as ``tensorrt`` in processes of their own.

    Attributes:
        folder: Holds the modules and the stand-in.
    """

    folder: Path

    def run(self, *arguments: str, driver: bool) -> subprocess.CompletedProcess[str]:
        """Run Python with these bindings, under a driver with one GPU or under none, whatever the machine has."""
        libraries = [self.folder / name for name in ("libraries", "driver" if driver else "no_driver")]
        environment = {
            **os.environ,
            "PYTHONPATH": _before("PYTHONPATH", self.folder / "modules"),
            "LD_LIBRARY_PATH": _before("LD_LIBRARY_PATH", *libraries),
        }
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, env=environment, cwd=self.folder, capture_output=True, text=True, timeout=_SECONDS, check=False
        )

    def told(self, script: str, *arguments: str, driver: bool = False) -> Any:
        """Run a script that prints JSON."""
        done = self.run("-c", script, *arguments, driver=driver)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @cached_property
    def described(self) -> dict[str, Any]:
        """Version, and for every member of `CLASSES` its signatures as text and whether it can be written."""
        return dict(self.told(_DESCRIBE, *CLASSES))

    def names(self) -> dict[str, list[str]]:
        """The public names of every class, as the listing has them."""
        members = self.described["members"]
        return {owner: sorted(name for name in members[owner] if name != "__init__") for owner in members}

    def takes(self, owner: str, name: str, positional: int, keywords: Collection[str]) -> bool:
        """Whether a signature takes such a call."""
        text = self.described["members"][owner][name]["signatures"]
        for inner in re.findall(rf"^(?:\d+\. )?{name}\(self: [^,)]+(?:, (.*))?\) -> ", text, re.MULTILINE):
            parameters = re.split(r", (?=\w+: )", inner) if inner else []
            names = [parameter.partition(":")[0] for parameter in parameters]
            required = {name for name, parameter in zip(names, parameters, strict=True) if " = " not in parameter}
            if positional <= len(names) and required <= {*names[:positional], *keywords} <= {*names}:
                return True
        return False

    def gives(self, owner: str, name: str) -> set[str]:
        """The classes that a method's signatures name as what it returns; 8 gives some of them their name in C++."""
        text = self.described["members"][owner][name]["signatures"]
        given = rf"^(?:\d+\. )?{name}\(self.*\) -> (?:[\w.]+\.|nvinfer1::I)?(\w+)$"
        return set(re.findall(given, text, re.MULTILINE))


def fetch(version: str, folder: Path) -> Bindings:
    """Bring the bindings of a version into an empty folder.

    Raises:
        UnavailableError: If pip can't bring them, or there is no C compiler.
    """
    missing = f"pip, which needs a package index, did not bring {' '.join(WHEELS[version])}"
    _call(missing, sys.executable, *_PIP, "--target", str(folder / "modules"), *WHEELS[version])
    # The package `tensorrt` is little more than the bindings under its own name.
    shim = "from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n"
    (folder / "modules" / "tensorrt.py").write_text(shim)
    (folder / "modules" / "tensorrt_libs.py").write_text('raise ImportError("a stand-in takes their place")\n')
    _stand_in(folder, int(version.partition(".")[0]))
    return Bindings(folder=folder)


def _before(variable: str, *places: Path) -> str:
    """Give the value of a variable of paths with these in front."""
    return os.pathsep.join([*map(str, places), *filter(None, [os.environ.get(variable)])])


def _stand_in(folder: Path, major: int) -> None:
    """Compile the libraries that the bindings want, a driver, and one that is no library at all."""
    for name in ("libraries", "driver", "no_driver"):
        (folder / name).mkdir()
    made = folder / "libraries" / "stand_in.so"
    slot = 4 if major >= 11 else 0  # since 11 the logger's own functions come behind those of IVersionedInterface
    source = str(Path(__file__).with_name("tensorrt_stand_in.c"))
    _call("a C compiler is needed", "cc", "-shared", "-fPIC", f"-DLOG_SLOT={slot}", "-o", str(made), source)
    for name in _LIBRARIES:
        (folder / "libraries" / f"lib{name}.so.{major}").symlink_to(made)
    (folder / "driver" / "libcuda.so.1").symlink_to(made)
    (folder / "no_driver" / "libcuda.so.1").touch()


def _call(failure: str, *command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{failure}: {error}") from error
    if done.returncode:
        raise UnavailableError(f"{failure}: {done.stderr.strip().rpartition(chr(10))[2]}")


def main() -> None:
    """Renew the listing."""
    listed = {}
    for version in WHEELS:
        with tempfile.TemporaryDirectory() as folder:
            listed[version] = fetch(version, Path(folder)).names()
            print(version, len(listed[version]), "classes")
    LISTING.write_text(json.dumps(listed, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
