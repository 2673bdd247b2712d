"""Files that are native code: taken only with their SHA-256 named by the user, and read once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..core.artifact import card_path
from ..core.errors import InputError, RefusedError
from ..core.files import sha256_bytes

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def trusted_files(path: Path, trust: Sequence[str]) -> dict[str, bytes]:
    """Read a file of native code that the user trusts, and the card beside it.

    The bytes that were hashed are handed out, so that nobody can put others in their place afterwards.

    Args:
        path: The file.
        trust: What the user trusts: ``sha256:`` and 64 hexadecimal digits each.

    Returns:
        File name to content.

    Raises:
        InputError: If the file cannot be read, or an entry of ``trust`` is no digest.
        RefusedError: If the file's digest is not among those trusted.
    """
    digests = [_digest(text) for text in trust]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from error
    actual = sha256_bytes(content)
    if actual not in digests:
        raise RefusedError(
            f"'{path}' is native code: opening it runs whatever is in it, with your rights. If you built it or trust "
            f"who did, compare its hash with theirs and pass --trust-engine sha256:{actual}"
        )
    card = card_path(path)
    return {path.name: content, **({card.name: card.read_bytes()} if card.is_file() else {})}


def _digest(text: str) -> str:
    found = _DIGEST.fullmatch(text.strip().lower())
    if found is None:
        raise InputError(f"Expected --trust-engine sha256: and 64 hexadecimal digits, got '{text}'.")
    return found[1]
