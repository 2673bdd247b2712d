"""The token for a server: where it comes from, when it may be sent, and that no message repeats it. Sends nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ..core.errors import InputError, RefusedError, RobustMQError
from .remote_address import Address

TOKEN_VARIABLE = "ROBUSTMQ_TOKEN"
_LONGEST_EXCERPT = 300


def token_from_environment() -> str | None:
    """Give the token of the environment, or None where there is none."""
    return os.environ.get(TOKEN_VARIABLE) or None


class Credentials:
    """A token, or none, for one server.

    Attributes:
        bearer: What the header ``Authorization`` holds; None without a token.
    """

    def __init__(self, token: str | None, address: Address) -> None:
        """Check the token.

        Raises:
            RefusedError: If it would leave this machine in clear text.
            InputError: If it cannot stand in a header.
        """
        self._token = _checked(token, address)
        self.bearer = f"Bearer {self._token}" if self._token else None

    def redact(self, text: str) -> str:
        """Take the token out of a text."""
        return text if not self._token else text.replace(self._token, "***")

    def excerpt(self, body: bytes) -> str:
        """Give the beginning of a reply as one printable line without the token, for messages."""
        text = self.redact(body[: 4 * _LONGEST_EXCERPT].decode("utf-8", "replace"))
        line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
        return line if len(line) <= _LONGEST_EXCERPT else line[:_LONGEST_EXCERPT] + "..."

    def guard(self, read: Callable[..., Any], *arguments: Any) -> Any:
        """Read a reply by a function whose errors may quote it; they are raised without the token."""
        try:
            return read(*arguments)
        except RobustMQError as error:
            raise type(error)(self.redact(str(error))) from None


def _checked(token: str | None, address: Address) -> str | None:
    if not token:
        return None
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(f"Expected one word of printable ASCII in {TOKEN_VARIABLE}. Set it anew.")
    if not address.is_encrypted and not address.is_loopback:
        raise RefusedError(
            f"{TOKEN_VARIABLE} is set and would be sent to {address.origin} in clear text. "
            "Use https or v2+grpcs, or unset it for this server."
        )
    return token
