"""Uploads to a Hub of this process, asked by huggingface_hub's own client."""

import huggingface_hub
import numpy as np
import pytest
import tensorflow as tf
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from transformers import AutoTokenizer, BertConfig, BertTokenizerFast

import tfhf
from tfhf.hub import push_folder, push_model

SIZES = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2}
CONFIG = BertConfig(**SIZES, intermediate_size=8, vocab_size=20, max_position_embeddings=16)
IDS = tf.constant([[2, 5, 7, 3]])


@pytest.fixture(scope="module")
def model():
    return tfhf.TFBertForSequenceClassification(CONFIG)


@pytest.fixture
def folder(tmp_path, model):
    folder = tmp_path / "moods"
    model.save_pretrained(folder)
    (folder / "checkpoint-3").mkdir()
    (folder / "checkpoint-3" / "optimizer").write_text("large")
    return folder


def test_what_is_pushed_is_what_is_loaded(hub, model, tmp_path):
    address = model.push_to_hub("ada/moods", commit_message="First")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)})
    tokenizer.push_to_hub("ada/moods")
    assert address.startswith(f"{hub.url}/ada/moods/commit/")
    titles = [title for title, _ in hub.repos["ada/moods"]["main"]]
    assert titles == ["initial commit", "First", "Upload tokenizer"]
    loaded = tfhf.TFBertForSequenceClassification.from_pretrained(
        "ada/moods", cache_dir=tmp_path / "elsewhere"
    )
    np.testing.assert_array_equal(loaded(IDS).logits, model(IDS).logits)
    again = AutoTokenizer.from_pretrained("ada/moods", cache_dir=tmp_path / "elsewhere")
    assert again("a b").input_ids == tokenizer("a b").input_ids


def test_a_folder_is_one_commit(hub, folder):
    push_folder(folder)
    assert len(hub.repos["ada/moods"]["main"]) == 2
    files = hub.files("ada/moods")
    assert set(files) == {".gitattributes", "config.json", "model.safetensors"}
    assert files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    found = huggingface_hub.HfApi().list_repo_files("ada/moods")
    assert set(found) == set(files)


def test_organisation_private_branch_and_pull_request(hub, folder):
    push_folder(folder, repo_id="guild/moods", private=True)
    assert hub.private == {"guild/moods"}
    push_folder(folder, repo_id="guild/moods", revision="v2", commit_message="Two")
    assert [title for title, _ in hub.repos["guild/moods"]["v2"]][-1] == "Two"
    assert len(hub.repos["guild/moods"]["main"]) == 2
    address = push_folder(folder, repo_id="guild/moods", create_pr=True)
    assert address == f"{hub.url}/guild/moods/discussions/1"
    assert len(hub.repos["guild/moods"]["main"]) == 2


@pytest.mark.parametrize(
    "where", ["POST .*preupload", "POST .*batch", "PUT /store", "POST .*commit"]
)
def test_nothing_is_half_published(hub, folder, where):
    hub.failing = {where: 100}
    with pytest.raises((HfHubHTTPError, RuntimeError), match="500|Error while uploading"):
        push_folder(folder)
    assert list(hub.files("ada/moods")) == [".gitattributes"]
    stored = len(hub.store)
    hub.failing = {}
    hub.requests.clear()
    push_folder(folder)
    assert set(hub.files("ada/moods")) == {".gitattributes", "config.json", "model.safetensors"}
    # What had arrived is not sent again.
    assert sum(request.startswith("PUT") for request in hub.requests) == 1 - stored


def test_a_model_that_is_not_there(hub):
    with pytest.raises((OSError, RepositoryNotFoundError), match="ada/nothing"):
        tfhf.TFBertModel.from_pretrained("ada/nothing")


def test_wrong_folder(tmp_path):
    with pytest.raises(NotADirectoryError, match="folder must be a folder, but .*missing"):
        push_folder(tmp_path / "missing")


def fit(model, folder, **options):
    callback = tfhf.PushToHubCallback(folder, **options)
    model.compile("sgd")
    data = {"input_ids": tf.tile(IDS, [8, 1]), "labels": tf.zeros([8], tf.int32)}
    model.fit(data, batch_size=2, epochs=3, verbose=0, callbacks=[callback])
    return callback


def test_callback(hub, tmp_path):
    model = tfhf.TFBertForSequenceClassification(CONFIG)
    callback = fit(model, tmp_path / "moods", license="mit", dataset="glue", dataset_args="mrpc")
    assert callback.errors == []
    titles = [title for title, _ in hub.repos["ada/moods"]["main"]]
    assert titles[-1] == "End of training"
    assert "Training in progress, epoch 1" in titles
    files = hub.files("ada/moods")
    assert files["model.safetensors"] == (tmp_path / "moods/model.safetensors").read_bytes()
    assert files["training_curves.png"].startswith(b"\x89PNG")
    card = huggingface_hub.ModelCard(files["README.md"].decode())
    assert (card.data.license, card.data.datasets) == ("mit", ["glue"])
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".upload")] == []


def test_callback_by_steps(hub, tmp_path):
    model = tfhf.TFBertForSequenceClassification(CONFIG)
    fit(model, tmp_path / "moods", save_strategy="steps", save_steps=5, hub_model_id="guild/moods")
    titles = [title for title, _ in hub.repos["guild/moods"]["main"]]
    assert titles[1].startswith("Training in progress, step ")
    assert titles[-1] == "End of training"


def test_callback_tells_errors_at_the_end(hub, tmp_path, caplog):
    hub.failing = {"POST .*commit": 100}
    model = tfhf.TFBertForSequenceClassification(CONFIG)
    callback = fit(model, tmp_path / "moods", save_strategy="no")
    assert len(callback.errors) == 1
    assert "1 uploads to moods failed, the last with: " in caplog.text
    assert (tmp_path / "moods/model.safetensors").exists()
    assert list(hub.files("ada/moods")) == [".gitattributes"]


def test_callback_arguments(tmp_path):
    with pytest.raises(
        ValueError, match=r"save_strategy must be one of \('epoch', 'steps', 'no'\)"
    ):
        tfhf.PushToHubCallback(tmp_path, save_strategy="batch")
    with pytest.raises(ValueError, match="save_steps must be a number above 0"):
        tfhf.PushToHubCallback(tmp_path, save_strategy="steps")


def test_push_model_cleans_up(hub, model, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    hub.failing = {"POST .*commit": 100}
    with pytest.raises(HfHubHTTPError):
        push_model(model, "moods")
    assert [path for path in tmp_path.iterdir() if path.name != "cache"] == []
