"""The engine against a small server over real sockets: signature, requests, identity and what is said of it."""

import json
import time
from types import ModuleType

import numpy as np
import pytest

from robustmq_trt.core.errors import InputError, RefusedError, UnsupportedError
from robustmq_trt.engines.remote import RemoteEngine
from robustmq_trt.engines.remote_retry import Policy
from robustmq_trt.engines.remote_statistics import times_apart

WEIGHTS = np.random.default_rng(0).normal(0, 0.1, (3 * 8 * 8, 5)).astype(np.float32)


def linear(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32) @ WEIGHTS


def softmax(images: np.ndarray) -> np.ndarray:
    powers = np.exp(linear(images))
    return powers / powers.sum(axis=1, keepdims=True)


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (count, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def service(v2: ModuleType):
    return v2.Service(score=linear, shape=[-1, 3, 8, 8], classes=5)


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_scores_are_the_bits_that_the_server_computed(v2: ModuleType, service, binary: bool):
    service.binary = binary
    with v2.served(service) as url:
        engine = RemoteEngine.open(url)

        scores = engine.infer(noise(40))

        np.testing.assert_array_equal(scores, linear(noise(40)))
        assert engine.provenance()["transport"] == ("http, binary tensors" if binary else "http, json")
        engine.close()


def test_bytes_are_sent_to_a_server_that_takes_them_without_saying_so(v2: ModuleType, service):
    service.silent = True
    with v2.served(service) as url:
        engine = RemoteEngine.open(url)

        np.testing.assert_array_equal(engine.infer(noise(40)), linear(noise(40)))
        assert engine.provenance()["transport"] == "http, binary tensors"
        engine.close()


def test_a_server_without_bytes_costs_one_request_to_find_out(v2: ModuleType, service):
    service.binary = False
    with v2.served(service) as url:
        engine = RemoteEngine.open(url)

        engine.infer(noise(2))
        sent = [headers.get("content-type") for method, _, headers in service.requests if method == "POST"]

        assert sent == ["application/octet-stream", *["application/json"] * 4]
        assert engine.provenance()["client"]["retries"] == 0
        engine.close()


def test_a_server_that_chokes_on_bytes_costs_one_deadline_and_is_sent_json(v2: ModuleType, service):
    waits = [3.0]

    def choke(method: str, path: str, *answer: object) -> tuple[object, ...]:
        if method == "POST" and waits:
            time.sleep(waits.pop())
        return answer

    service.silent, service.bend = True, choke
    with v2.served(service) as url:
        engine = RemoteEngine.open(url, policy=Policy(deadline_s=1.0))

        assert engine.provenance()["transport"] == "http, json"
        np.testing.assert_array_equal(engine.infer(noise(2)), linear(noise(2)))
        engine.close()


@pytest.mark.parametrize("kind", ["levels", "odd"])
def test_numbers_survive_json_to_the_last_bit(v2: ModuleType, service, kind: str):
    levels = np.random.default_rng(3).integers(0, 256, (6, 3, 8, 8))
    images = ((levels / np.float32(255) - np.float32(0.485)) / np.float32(0.229)).astype(np.float32)
    if kind == "odd":
        images.reshape(-1)[:6] = [-0.0, 1e-45, 3.4028235e38, 1 / 3, 1e-5, 16777216.0]
    seen = []
    service.binary = False
    service.score = lambda batch: seen.append(batch) or linear(batch)
    with v2.served(service) as url:
        engine = RemoteEngine.open(url)

        engine.infer(images)

        np.testing.assert_array_equal(seen[-1].view(np.uint32), images.view(np.uint32))
        engine.close()


@pytest.mark.parametrize(("kind", "step"), [("FP64", 0), ("FP16", 2e-3)])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_other_float_types_of_scores_become_float32(v2: ModuleType, service, kind: str, step: float, binary: bool):
    service.output_type, service.binary = kind, binary
    with v2.served(service) as url:
        engine = RemoteEngine.open(url)

        scores = engine.infer(noise(3))

        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, linear(noise(3)), atol=step)
        engine.close()


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_uint8_images_and_scores_keep_their_levels(v2: ModuleType, service, binary: bool):
    service.input_type = service.output_type = "UINT8"
    service.binary = binary
    service.score = lambda images: images.reshape(len(images), -1)[:, :5]
    images = np.random.default_rng(2).integers(0, 256, (4, 3, 8, 8)).astype(np.uint8)
    with v2.served(service) as url:
        engine = RemoteEngine.open(url)

        scores = engine.infer(images)

        assert (engine.spec.dtype, engine.spec.output_kind) == ("uint8", "uint8-scores")
        np.testing.assert_array_equal(scores, images.reshape(4, -1)[:, :5])
        engine.close()


def test_probabilities_are_told_from_logits_by_the_answers(v2: ModuleType, service):
    service.score = softmax
    with v2.served(service) as url:
        engine = RemoteEngine.open(url)

        assert engine.spec.output_kind == "probabilities"
        engine.close()


def test_classes_that_the_metadata_leaves_open_are_counted_in_a_reply(v2: ModuleType, service):
    service.documents = {service.path: {**service.document(service.path)}}
    service.documents[service.path]["outputs"] = [{"name": "y", "datatype": "FP32", "shape": [-1, -1]}]
    with v2.served(service) as url:
        engine = RemoteEngine.open(url)

        assert engine.spec.classes == 5
        engine.close()


def test_a_batch_larger_than_the_server_takes_travels_in_several_requests(v2: ModuleType, service):
    service.max_batch = 4
    with v2.served(service) as url:
        engine = RemoteEngine.open(url)

        scores = engine.infer(noise(10))

        assert service.sizes[3:] == [4, 4, 2]
        np.testing.assert_array_equal(scores, linear(noise(10)))
        engine.close()


def test_a_fixed_batch_is_kept_and_asked_of_the_caller(v2: ModuleType, service):
    service.shape = [6, 3, 8, 8]
    with v2.served(service) as url:
        engine = RemoteEngine.open(url)

        engine.infer(noise(6))

        assert engine.spec.fixed_batch == 6
        assert set(service.sizes) == {6}
        with pytest.raises(InputError, match="Expected a batch"):
            engine.infer(noise(5))
        engine.close()


def test_one_connection_serves_all_requests(v2: ModuleType, service):
    with v2.served(service) as url:
        engine = RemoteEngine.open(url)
        for _ in range(5):
            engine.infer(noise(1))

        assert service.connections == 1
        engine.close()


def test_a_read_only_or_scattered_batch_is_sent_as_it_reads(v2: ModuleType, service):
    images = np.ascontiguousarray(noise(3)[..., ::-1])[..., ::-1]
    images.flags.writeable = False
    with v2.served(service) as url:
        engine = RemoteEngine.open(url)

        np.testing.assert_array_equal(engine.infer(images), linear(noise(3)))
        engine.close()


def test_the_version_asked_for_is_the_one_in_the_path(v2: ModuleType, service):
    service.version = "3"
    with v2.served(service) as url:
        engine = RemoteEngine.open(f"{url}/versions/3")
        engine.close()

        assert {path for method, path, _ in service.requests if method == "POST"} == {
            "/v2/models/model/versions/3/infer"
        }


def test_another_version_than_the_one_asked_for_is_refused(v2: ModuleType, service):
    service.documents = {"/v2/models/model/versions/2": service.document("/v2/models/model")}
    with v2.served(service) as url, pytest.raises(InputError, match="version '1' answered"):
        RemoteEngine.open(f"{url}/versions/2")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"inputs": []}, r"name one input, got 0.*KServe.*get_input_types"),
        ({"outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 5]}] * 2}, "name one output, got 2"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3, -1, -1]}]}, "of fixed size"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [3, 8, 8]}]}, r"\(N, C, H, W\)"),
        ({"inputs": [{"name": "x", "datatype": "INT64", "shape": [-1, 3, 8, 8]}]}, "FP32 or UINT8"),
        ({"outputs": [{"name": "y", "datatype": "INT64", "shape": [-1, 1]}]}, "Only classifiers"),
        ({"outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}]}, "Only classifiers"),
        ({"inputs": [{"name": "x", "datatype": "FP32"}]}, "a datatype and a shape"),
        ({"inputs": "x"}, "name one input"),
    ],
)
def test_a_model_that_is_no_image_classifier_is_refused(v2: ModuleType, service, change: dict[str, object], match: str):
    service.documents = {service.path: {**service.document(service.path), **change}}
    with v2.served(service) as url, pytest.raises(UnsupportedError, match=match):
        RemoteEngine.open(url)


def test_an_unknown_model_is_the_users_mistake(v2: ModuleType, service):
    with v2.served(service) as url, pytest.raises(InputError, match=r"status 404.*Check the model's name"):
        RemoteEngine.open(url.replace("/model", "/other"))


def test_a_server_cannot_be_told_to_simulate():
    with pytest.raises(UnsupportedError, match="cannot be told to simulate"):
        RemoteEngine.open("http://127.0.0.1:1/model", simulate=True)


def test_nothing_is_proven_and_no_coverage_is_claimed(v2: ModuleType, service):
    with v2.served(service) as url:
        engine = RemoteEngine.open(url)

        audit = engine.audit()

        assert not audit.provable
        assert audit.to_json()["integer_coverage"] is None
        assert [layer.compute for layer in audit.layers] == ["unknown"]
        assert "declaration, no proof" in " ".join(audit.notes)
        engine.close()


def test_identity_follows_the_models_answers(v2: ModuleType, service):
    with v2.served(service) as url:
        first, again = (RemoteEngine.open(url) for _ in range(2))
        service.score = softmax
        other = RemoteEngine.open(url)

        hashes = [engine.provenance()["served_sha256"] for engine in (first, again, other)]

        assert hashes[0] == hashes[1] != hashes[2]
        for engine in (first, again, other):
            engine.close()


def test_time_inside_the_server_stands_apart_from_the_clients(v2: ModuleType, service):
    with v2.served(service) as url:
        engine = RemoteEngine.open(url)
        before = engine.provenance()
        for _ in range(4):
            engine.infer(noise(2))

        times = times_apart(before, engine.provenance())

        assert times is not None
        assert (times["requests"], times["images"], times["foreign"]) == (4, 8, 0)
        assert times["server_ms"] == pytest.approx(1.0)  # what the small server claims
        assert times["client_ms"] > 0
        engine.close()


def test_a_server_without_statistics_is_timed_by_the_client_alone(v2: ModuleType, service):
    service.documents = {f"{service.path}/stats": None}
    with v2.served(service) as url:
        engine = RemoteEngine.open(url)
        before = engine.provenance()
        engine.infer(noise(1))

        times = times_apart(before, engine.provenance())

        assert times is not None
        assert times["server_ms"] is None
        engine.close()


def test_times_of_an_engine_that_is_no_server_are_none():
    assert times_apart({"backend": "onnxruntime"}, {"backend": "onnxruntime"}) is None


class TestToken:
    SECRET = "s3cret-t0ken"

    def test_it_is_sent_from_the_environment_and_never_shown(
        self, v2: ModuleType, service, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("ROBUSTMQ_TOKEN", self.SECRET)
        service.token = self.SECRET
        service.documents = {
            "/v2": {"name": f"server {self.SECRET}", "version": "1", "extensions": ["binary_tensor_data"]}
        }
        with v2.served(service) as url:
            engine = RemoteEngine.open(url)
            engine.infer(noise(1))

            shown = json.dumps([engine.provenance(), engine.audit().to_json(), repr(engine), str(vars(engine.spec))])

            assert self.SECRET not in shown
            engine.close()

    def test_a_server_that_repeats_it_does_not_bring_it_into_a_message(
        self, v2: ModuleType, service, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("ROBUSTMQ_TOKEN", self.SECRET)
        service.token = "another"
        with (
            v2.served(service) as url,
            pytest.raises(InputError, match=r"status 401: bad header Bearer \*\*\*") as caught,
        ):
            RemoteEngine.open(url)

        assert self.SECRET not in str(caught.value)
        assert "ROBUSTMQ_TOKEN" in str(caught.value)

    def test_a_reply_that_repeats_it_does_not_bring_it_into_a_message(
        self, v2: ModuleType, service, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("ROBUSTMQ_TOKEN", self.SECRET)

        def wrong_name(document: dict[str, object], tail: bytes) -> bytes:
            document["outputs"][0]["datatype"] = self.SECRET
            return tail

        service.bend = v2.edited(wrong_name)
        with v2.served(service) as url:
            engine = RemoteEngine.open(url)

            with pytest.raises(Exception, match=r"FP32, got '\*\*\*'") as caught:
                engine.infer(noise(1))

            assert self.SECRET not in str(caught.value)
            engine.close()

    def test_it_does_not_travel_in_clear_text(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("ROBUSTMQ_TOKEN", self.SECRET)

        with pytest.raises(RefusedError, match="clear text") as caught:
            RemoteEngine.open("http://192.0.2.1/model")

        assert self.SECRET not in str(caught.value)

    @pytest.mark.parametrize("token", ["two words", "line\nbreak", "ünicode"])
    def test_one_that_cannot_stand_in_a_header_is_refused_unseen(self, token: str, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("ROBUSTMQ_TOKEN", token)

        with pytest.raises(InputError, match="one word of printable ASCII") as caught:
            RemoteEngine.open("http://127.0.0.1:1/model")

        assert token not in str(caught.value)
