import pytest

from robustmq_trt.core.errors import InputError, RefusedError
from robustmq_trt.engines.remote_address import parse_address, same_origin


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        ("http://host:8000/net", "http://host:8000", "/v2/models/net"),
        ("http://host/net", "http://host:80", "/v2/models/net"),
        ("https://host/net/", "https://host:443", "/v2/models/net"),
        ("http://host:8000/net/versions/7", "http://host:8000", "/v2/models/net/versions/7"),
        ("http://host:8000/v2/models/net/versions/7", "http://host:8000", "/v2/models/net/versions/7"),
        ("http://[::1]:8000/net", "http://[::1]:8000", "/v2/models/net"),
        ("v2+grpc://host:8001/net/versions/7", "v2+grpc://host:8001", "/v2/models/net/versions/7"),
        ("v2+grpc://host/net", "v2+grpc://host:8001", "/v2/models/net"),
        ("v2+grpcs://[::1]/net", "v2+grpcs://[::1]:443", "/v2/models/net"),
        ("http://host:8000/a%20b%2Fc", "http://host:8000", "/v2/models/a%20b%2Fc"),
    ],
)
def test_an_address_gives_server_and_model(url: str, origin: str, path: str):
    address = parse_address(url)

    assert (address.origin, address.path) == (origin, path)
    assert parse_address(address.url) == address


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/net",
        "http:///net",
        "http://host",
        "http://host/",
        "http://host/a/b",
        "http://host/net/versions/",
        "http://host:99999/net",
        "http://host:x/net",
        "http://[::1/net",
        "http://host/ne t",
        "http://host/ne\nt",
        "http://host/%0d%0aHost:%20other",
        "http://host/..",
        "net",
    ],
)
def test_what_is_no_address_is_refused_with_the_syntax(url: str):
    with pytest.raises(InputError, match=r"v2:http://HOST:PORT/MODEL"):
        parse_address(url)


@pytest.mark.parametrize(
    "url",
    ["http://user:secret@host/net", "http://secret@host/net", "http://host/net?token=secret", "http://host/net#secret"],
)
def test_an_address_with_a_secret_is_refused_without_repeating_it(url: str):
    with pytest.raises(RefusedError, match="ROBUSTMQ_TOKEN") as caught:
        parse_address(url)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "near"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("[::1]", True), ("localhost", True), ("10.0.0.1", False)],
)
def test_only_this_machine_is_the_loopback(host: str, near: bool):
    assert parse_address(f"http://{host}/net").is_loopback is near


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("http://host:80/x", True),
        ("http://host/x", True),
        ("http://HOST/x", True),
        ("https://host:80/x", False),
        ("http://host:81/x", False),
        ("http://host.other/x", False),
        ("http://host@other/x", False),
        ("http://host:bad/x", False),
        ("/x", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, same: bool):
    assert same_origin(url, parse_address("http://host/net")) is same
