"""https: certificates are checked against the authorities of the machine, or those of SSL_CERT_FILE."""

from types import ModuleType

import numpy as np
import pytest

from robustmq_trt.core.errors import RefusedError
from robustmq_trt.engines.remote import RemoteEngine


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
