"""https: certificates are checked against the authorities of the machine, or those of SSL_CERT_FILE."""

import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from robustmq_trt.core.errors import RefusedError
from robustmq_trt.engines.remote import RemoteEngine


@pytest.fixture
def certificate(tmp_path: Path) -> str:
    """A key and a certificate of its own for 127.0.0.1, in one file."""
    tool = shutil.which("openssl")
    if tool is None:
        pytest.skip("needs the command openssl to make a certificate")
    key, made, both = (tmp_path / name for name in ("key.pem", "made.pem", "both.pem"))
    subprocess.run(
        [
            *(
                tool,
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
            ),
            *("-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)),
        ],
        check=True,
        capture_output=True,
    )
    both.write_text(key.read_text() + made.read_text())
    return str(both)


@pytest.fixture
def service(v2: ModuleType):
    return v2.Service(
        score=lambda images: images.reshape(len(images), -1)[:, :5], shape=[-1, 3, 64, 64], classes=5, token="secret"
    )


def test_a_certificate_nobody_vouches_for_is_refused(
    v2: ModuleType, service, certificate: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ROBUSTMQ_TOKEN", "secret")
    with v2.served(service, certificate=certificate) as url, pytest.raises(RefusedError, match="SSL_CERT_FILE"):
        RemoteEngine.open(url)

    assert service.requests == []  # the token did not leave


def test_a_certificate_for_another_host_is_refused(
    v2: ModuleType, service, certificate: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SSL_CERT_FILE", certificate)
    with v2.served(service, certificate=certificate) as url, pytest.raises(RefusedError, match="not accepted"):
        RemoteEngine.open(url.replace("127.0.0.1", "localhost"))


def test_scores_and_token_travel_encrypted_where_the_authority_is_named(
    v2: ModuleType, service, certificate: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SSL_CERT_FILE", certificate)
    monkeypatch.setenv("ROBUSTMQ_TOKEN", "secret")
    images = np.random.default_rng(0).normal(size=(32, 3, 64, 64)).astype(np.float32)
    with v2.served(service, certificate=certificate) as url:
        engine = RemoteEngine.open(url)

        np.testing.assert_array_equal(engine.infer(images), images.reshape(32, -1)[:, :5])

        assert engine.provenance()["encrypted"]
        engine.close()
