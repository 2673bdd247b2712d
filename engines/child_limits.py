"""What a child that runs somebody's engine may see and use: a scrubbed environment and resource limits."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..core.provenance import SWITCHES

# Everything else stays behind: tokens, proxies with passwords, cloud credentials, the home folder.
_KEPT = frozenset(
    (
        "CUDA_DEVICE_ORDER",
        "CUDA_HOME",
        "CUDA_MODULE_LOADING",
        "CUDA_PATH",
        "KMP_AFFINITY",
        "LANG",
        "LC_ALL",
        "LD_LIBRARY_PATH",
        "NVIDIA_VISIBLE_DEVICES",
        "PATH",
        "PYTHONHASHSEED",
        "PYTHONHOME",
        "PYTHONPATH",
        "TZ",
        "VIRTUAL_ENV",
        *SWITCHES,
    )
)
_FILE_BYTES = 4 << 30
_OPEN_FILES = 1024
_MEMORY_SHARE = 0.8


def scrubbed(environment: Mapping[str, str], folder: str) -> dict[str, str]:
    """Give the environment of a child: the few variables a runtime needs, home and temporary files in its own folder.

    Example:
        >>> scrubbed({"PATH": "/bin", "SECRET_TOKEN": "x"}, "/private")
        {'PATH': '/bin', 'HOME': '/private', 'TMPDIR': '/private'}
    """
    kept = {name: value for name, value in environment.items() if name in _KEPT}
    return {**kept, "HOME": folder, "TMPDIR": folder}


def default_memory_bytes() -> int:
    """Give the memory a child may use when nothing else is said: four fifths of the machine's."""
    return int(_MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def limit_resources(memory_bytes: int) -> None:
    """Limit this process: no core file, bounded files, and private memory beyond which allocations fail.

    The address space is not limited: GPU drivers reserve far more of it than they use.
    """
    import resource

    wanted = (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_DATA, memory_bytes),
    )
    for kind, most in wanted:
        _, hard = resource.getrlimit(kind)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, bound))
