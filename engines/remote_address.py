"""Where a server is and which of its models is meant: `SCHEME://HOST:PORT/MODEL[/versions/V]`. Opens nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import quote, unquote, urlsplit

from ..core.errors import InputError, RefusedError

SCHEMES = {"http": 80, "https": 443, "v2+grpc": 8001, "v2+grpcs": 443}
_ENCRYPTED = frozenset(("https", "v2+grpcs"))
_SYNTAX = "v2:http://HOST:PORT/MODEL[/versions/V] or v2+grpc://HOST:PORT/MODEL[/versions/V]"
_PATH = re.compile(r"/(?:v2/models/)?([^/]+)(?:/versions/([^/]+))?/?")


@dataclass(frozen=True, kw_only=True)
class Address:
    """One model on one server.

    Attributes:
        scheme: ``http``, ``https``, ``v2+grpc`` or ``v2+grpcs``.
        host: Host name or IP address, without brackets.
        port: TCP port.
        model: The model's name, decoded.
        version: The model's version, or None for the server's choice.
    """

    scheme: str
    host: str
    port: int
    model: str
    version: str | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port: what a redirect may not leave."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def path(self) -> str:
        """Path of the model in the Open Inference Protocol."""
        base = f"/v2/models/{quote(self.model, safe='')}"
        return base if self.version is None else f"{base}/versions/{quote(self.version, safe='')}"

    @property
    def url(self) -> str:
        """The address as the user could write it."""
        version = "" if self.version is None else f"/versions/{quote(self.version, safe='')}"
        return f"{self.origin}/{quote(self.model, safe='')}{version}"

    @property
    def is_encrypted(self) -> bool:
        """Whether what is sent is encrypted."""
        return self.scheme in _ENCRYPTED

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_address(url: str) -> Address:
    """Read an address.

    Args:
        url: ``http://HOST:PORT/MODEL`` or ``v2+grpc://HOST:PORT/MODEL``, with ``/versions/V`` behind it where one
            version is meant.

    Raises:
        InputError: If it is none.
        RefusedError: If it holds a password, a query or a fragment: an address ends up in reports.

    Example:
        >>> parse_address("http://localhost:8000/resnet/versions/3").path
        '/v2/models/resnet/versions/3'
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"Expected a target {_SYNTAX}, but {error}.") from error
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise RefusedError(
            f"Expected a target {_SYNTAX} without user name, password, query or fragment: it is printed in reports. "
            "Put a token into the environment variable ROBUSTMQ_TOKEN."
        )
    path = _PATH.fullmatch(parts.path)
    if parts.scheme not in SCHEMES or not host or path is None or not url.isprintable() or " " in url:
        raise InputError(f"Expected a target {_SYNTAX}, got '{url}'.")
    model, version = unquote(path[1]), None if path[2] is None else unquote(path[2])
    if not f"{model}{version or ''}".isprintable() or model in (".", ".."):
        raise InputError(f"Expected a printable model name in {_SYNTAX}, got {model!r}.")
    return Address(
        scheme=parts.scheme,
        host=host,
        port=SCHEMES[parts.scheme] if port is None else port,
        model=model,
        version=version,
    )


def same_origin(url: str, address: Address) -> bool:
    """Tell whether an absolute URL stays on the same scheme, host and port."""
    try:
        parts = urlsplit(url)
        port = parts.port or SCHEMES.get(parts.scheme)
    except ValueError:
        return False
    return (parts.scheme, parts.hostname, port) == (address.scheme, address.host, address.port)
