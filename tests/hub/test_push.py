"""Uploads to a Hub of this process, asked by huggingface_hub's own client."""

import hashlib
import os

import huggingface_hub
import keras
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
    assert "README.md" not in hub.files("ada/moods")
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


@pytest.fixture
def xet(hub, monkeypatch, tmp_path):
    """The Hub keeps large files in Xet."""
    pytest.importorskip("hf_xet")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    hub.xet = tmp_path / "xet"


def test_many_files_are_one_commit_with_xet(hub, xet, folder):
    """`HfApi.upload_folder` makes several, and smaller ones where one fails."""
    for i in range(25):
        (folder / f"{i}.txt").write_text(str(i))
    hub.failing = {"POST .*commit": 1}
    with pytest.raises(HfHubHTTPError, match="500"):
        push_folder(folder)
    assert list(hub.files("ada/moods")) == [".gitattributes"]
    push_folder(folder)
    assert len(hub.repos["ada/moods"]["main"]) == 2
    files = hub.files("ada/moods")
    assert len(files) == 28 and files["24.txt"] == b"24"
    weights = (folder / "model.safetensors").read_bytes()
    assert files["model.safetensors"] == hashlib.sha256(weights).hexdigest().encode()
    assert hub.store == {} and any(hub.xet.rglob("xorbs"))


def test_without_xet_where_it_should_be_nothing_is_published(hub, xet, folder):
    hub.xet = None
    with pytest.raises(ConnectionError, match="404"):
        push_folder(folder)
    assert list(hub.files("ada/moods")) == [".gitattributes"]


def test_old_weights_go_where_new_ones_come(hub, model, folder, tmp_path):
    other = tfhf.TFBertForSequenceClassification(CONFIG)
    push_folder(folder)
    push_folder(folder, revision="v2")
    hub.files("ada/moods")["old/model.safetensors"] = b""
    for pushed, size in ((other, "1KB"), (model, "5GB")):
        pushed.push_to_hub("ada/moods", max_shard_size=size)
        loaded = tfhf.TFBertForSequenceClassification.from_pretrained(
            "ada/moods", cache_dir=tmp_path / "elsewhere"
        )
        np.testing.assert_array_equal(loaded(IDS).logits, pushed(IDS).logits)
        weights = {name for name in hub.files("ada/moods") if "safetensors" in name}
        assert ("model.safetensors" in weights) == (size == "5GB")
        assert ("model.safetensors.index.json" in weights) == (size == "1KB")
    assert weights == {"model.safetensors", "old/model.safetensors"}
    assert len(hub.repos["ada/moods"]["main"]) == 4
    assert "model.safetensors" in hub.files("ada/moods", "v2")
    # What has no weights removes none.
    CONFIG.save_pretrained(tmp_path / "config")
    push_folder(tmp_path / "config", repo_id="ada/moods")
    assert weights < set(hub.files("ada/moods"))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("license: [mit", "expected ',' or ']'"),
        ("tags:\n- {a: b}", '"tags" must be'),
        ("model-index:\n- name: moods\n  results:\n  - metrics: []", '"dataset.name" must be'),
    ],
)
def test_a_card_that_the_hub_refuses(hub, folder, metadata, message):
    (folder / "README.md").write_text(f"---\n{metadata}\n---\n\n# Moods\n")
    with pytest.raises(ValueError, match=f"Invalid metadata in README.md(.|\n)*{message}"):
        push_folder(folder)
    assert list(hub.files("ada/moods")) == [".gitattributes"]


def test_organisation_private_branch_and_pull_request(hub, folder):
    push_folder(folder, repo_id="guild/moods", private=True)
    assert hub.private == {"guild/moods"}
    push_folder(folder, repo_id="guild/moods", revision="v2", commit_message="Two")
    assert [title for title, _ in hub.repos["guild/moods"]["v2"]][-1] == "Two"
    assert len(hub.repos["guild/moods"]["main"]) == 2
    address = push_folder(folder, repo_id="guild/moods", create_pr=True)
    assert address == f"{hub.url}/guild/moods/discussions/1"
    assert len(hub.repos["guild/moods"]["main"]) == 2
    push_folder(folder, repo_id="guild/moods", revision="v2", create_pr=True, commit_message="3")
    branches = hub.repos["guild/moods"]
    titles = [title for title, _ in branches["refs/pr/2"]]
    assert titles == ["initial commit", "Upload model", "Two", "3"]
    assert len(branches["v2"]) == 3


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


def test_a_name_that_is_none(hub, folder):
    with pytest.raises(ValueError, match="Repo id must"):
        push_folder(folder, repo_id="")
    assert not hub.repos


DATA = {"input_ids": tf.tile(IDS, [8, 1]), "labels": tf.zeros([8], tf.int32)}


def fit(model, folder, **options):
    callback = tfhf.PushToHubCallback(folder, **options)
    model.compile("sgd")
    model.fit(DATA, batch_size=2, epochs=3, verbose=0, callbacks=[callback])
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


def test_callback_counts_batches(model, tmp_path, monkeypatch):
    """Keras runs three at once, of 4 an epoch."""
    told = []
    callback = tfhf.PushToHubCallback(tmp_path, "steps", save_steps=5)
    monkeypatch.setattr(callback, "_share", told.append)
    model.compile("sgd", steps_per_execution=3)
    model.fit(DATA, batch_size=2, epochs=3, verbose=0, callbacks=[callback])
    expected = [f"Training in progress, step {step}" for step in (7, 11)]
    assert told == [*expected, "End of training"]


class Logs(keras.callbacks.Callback):
    """A callback that reports more than numbers."""

    def on_epoch_end(self, epoch, logs=None):
        logs |= {"val_F1": 0.5 + epoch, "val_PER": {"f1": 0.5}, "note": "fine"}


def test_callback_with_metrics_of_some_epochs_and_no_numbers(hub, tmp_path):
    model = tfhf.TFBertForSequenceClassification(CONFIG)
    (tmp_path / "moods/checkpoint-3").mkdir(parents=True)
    (tmp_path / "moods/checkpoint-3/optimizer").write_text("large")
    callback = tfhf.PushToHubCallback(tmp_path / "moods", "no", dataset="glue")
    uploaded = []
    callback._push = lambda folder, message: uploaded.extend(os.listdir(folder))
    model.compile("sgd")
    data = {"validation_data": (DATA,), "validation_freq": 2}
    model.fit(DATA, batch_size=8, epochs=3, verbose=0, callbacks=[Logs(), callback], **data)
    assert "config.json" in uploaded and "checkpoint-3" not in uploaded
    card = huggingface_hub.ModelCard.load(tmp_path / "moods/README.md")
    assert card.data.metrics == ["F1"]
    loss, val_loss = (model.history.history[name] for name in ("loss", "val_loss"))
    table = [line for line in card.text.splitlines() if line.startswith("| ")]
    assert table == [
        "| epoch | loss | val_F1 | val_loss |",
        "| --- | --- | --- | --- |",
        f"| 1 | {loss[0]:.4g} | 0.5 |  |",
        f"| 2 | {loss[1]:.4g} | 1.5 | {val_loss[0]:.4g} |",
        f"| 3 | {loss[2]:.4g} | 2.5 |  |",
    ]
    # Without the callback, Keras's history is what a card knows.
    model.push_to_hub("ada/films")
    assert b"| 3 | " in hub.files("ada/films")["README.md"]


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
    for name in ("checkpoint", "tasks", "licence", "model_name"):
        with pytest.raises(TypeError, match=f"has no argument '{name}'; .*history, .*license, "):
            tfhf.PushToHubCallback(tmp_path, **{name: None})


def test_push_model_cleans_up(hub, model, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    hub.failing = {"POST .*commit": 100}
    with pytest.raises(HfHubHTTPError):
        push_model(model, "moods")
    assert [path for path in tmp_path.iterdir() if path.name != "cache"] == []
