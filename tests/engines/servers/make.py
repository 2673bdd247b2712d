"""Makes the environments of the real servers: `python tests/engines/servers/make.py`, a few minutes, once.

They lie in the folder that ROBUSTMQ_SERVERS names, one per server, because their versions of numpy and protobuf are not
those of this project. `clients` holds Triton's own client, for benchmarks/bench_remote.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

SERVERS = ("triton", "mlserver", "kserve", "clients")
HERE = Path(__file__).resolve().parent
COMMAND = "ROBUSTMQ_SERVERS=FOLDER python tests/engines/servers/make.py"
_DONE = "complete"

# Triton's Python processes carry the interpreter of 3.11.5 and meet the library of a later 3.11, whose `threading`
# expects a method that locks had not got then.
_BRIDGE = """import _thread
import threading

if not hasattr(_thread.RLock, "_recursion_count"):

    class _Lock(threading._RLock):
        def _recursion_count(self):
            return self._count if self._owner == threading.get_ident() else 0

    threading.RLock = _Lock
"""


def folder_of(server: str) -> Path | None:
    """Give the environment of a server, or None where it was not made."""
    root = os.environ.get("ROBUSTMQ_SERVERS")
    path = Path(root or ".").resolve() / server
    return path if root and (path / _DONE).is_file() else None


def make(server: str, root: Path) -> None:
    """Make the environment of one server, if it is not there."""
    path = root / server
    if (path / _DONE).is_file():
        return
    venv.create(path, with_pip=True, clear=True)
    python = path / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", HERE / f"{server}.txt"], check=True)
    if server == "triton":
        (site,) = path.glob("lib/python3*/site-packages")
        (site / "sitecustomize.py").write_text(_BRIDGE)
    (path / _DONE).touch()


if __name__ == "__main__":
    if "ROBUSTMQ_SERVERS" not in os.environ:
        sys.exit(f"Say where the environments shall lie: {COMMAND}")
    if sys.version_info[:2] != (3, 11):
        sys.exit("Triton's wheel serves Python models of 3.11 only: run this with Python 3.11.")
    for name in SERVERS:
        make(name, Path(os.environ["ROBUSTMQ_SERVERS"]).resolve())
