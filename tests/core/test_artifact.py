import pytest

from robustmq_trt.core.artifact import Card, card_path, read_card, write_card
from robustmq_trt.core.errors import InputError
from robustmq_trt.core.files import sha256_file


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"weights")
    return path


def card_of(model) -> Card:
    return Card(
        file=model.name, sha256=sha256_file(model), size_bytes=7, kind="qdq", precision="w8a8", parents={"model": "0"}
    )


def test_a_card_comes_back_as_written(model):
    write_card(model, card_of(model))

    assert read_card(model) == card_of(model)


def test_a_model_without_a_card_has_none(model):
    assert read_card(model) is None


def test_a_model_that_changed_under_its_card_is_refused(model):
    write_card(model, card_of(model))
    model.write_bytes(b"other weights")

    with pytest.raises(InputError, match="is not the file its card describes"):
        read_card(model)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "robustmq-card/1"}', '{"format": "other/1"}'])
def test_a_broken_card_is_refused_with_its_path(model, text):
    card_path(model).write_text(text)

    with pytest.raises(InputError, match=r"model\.onnx\.card\.json"):
        read_card(model)
