"""``tfhf push`` and ``tfhf train --push-to-hub``, to a Hub of this process."""

import huggingface_hub
import pytest
from transformers import BertConfig, BertTokenizer

import tfhf


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "films"
    (folder / "checkpoint-3").mkdir(parents=True)
    (folder / "checkpoint-3" / "optimizer").write_text("large")
    (folder / "config.json").write_text("{}")
    return folder


def test_a_folder_is_uploaded(hub, folder, tfhf_command):
    done = tfhf_command("push", folder, "guild/films", "--private", "-m", "Two epochs")
    assert done.exit_code == 0, done.stderr
    (_, (title, files)) = hub.repos["guild/films"]["main"]
    assert done.stdout == f"{hub.url}/guild/films/commit/{hub.oid('guild/films', 'main')}\n"
    assert title == "Two epochs" and files.keys() == {".gitattributes", "config.json"}
    assert hub.private == {"guild/films"}


def test_a_pull_request_to_a_branch(hub, folder, tfhf_command):
    done = tfhf_command("push", folder, "ada/films", "--revision", "next")
    assert done.exit_code == 0, done.stderr
    (folder / "config.json").write_text("[]")
    done = tfhf_command("push", folder, "ada/films", "--pr", "--revision", "next")
    assert done.stdout == f"{hub.url}/ada/films/discussions/1\n", done.stderr
    assert hub.files("ada/films", "next")["config.json"] == b"{}"
    assert hub.files("ada/films", "refs/pr/1")["config.json"] == b"[]"
    assert len(hub.repos["ada/films"]["refs/pr/1"]) == 3
    assert not hub.private


def test_a_repository_without_a_name(hub, folder, tfhf_command):
    done = tfhf_command("push", folder, "")
    assert done.exit_code == 1 and done.stderr.startswith("tfhf: Repo id must")
    assert not hub.repos


def test_no_connection_is_told_in_a_line(tmp_path, tfhf_command, monkeypatch):
    from huggingface_hub.errors import HTTPError

    def fail(*arguments, **settings):
        raise HTTPError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", fail)
    done = tfhf_command("push", tmp_path, "me/films")
    assert done.exit_code == 1
    reason = "Name or service not known"
    assert done.stderr == f"tfhf: {tmp_path} cannot be uploaded to me/films: {reason}\n"


def test_a_folder_that_is_not_there(tmp_path, tfhf_command):
    done = tfhf_command("push", tmp_path / "absent", "me/films")
    assert done.exit_code == 2 and "does not exist" in done.stderr


def test_help_says_what_stays(tfhf_command):
    assert "checkpoint-*/" in tfhf_command("push", "--help").stdout


@pytest.fixture
def training(tmp_path):
    """A command line that trains a tiny BERT for a step."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=16,
    )
    tfhf.TFBertModel(config).save_pretrained(tmp_path / "bert")
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(words)})
    tokenizer.save_pretrained(tmp_path / "bert")
    file = tmp_path / "films.csv"
    file.write_text("text,label\n" + "good,yes\nbad,no\n" * 4)
    return [
        "train", "--task=text-classification", "--model", tmp_path / "bert", "--train-file", file,
        "--validation-file", file, "--output-dir", tmp_path / "films", "--max-steps=1",
        "--save-strategy=epoch", "--report-to=none", "--disable-tqdm", "--push-to-hub",
    ]  # fmt: skip


def test_a_training_is_uploaded_once(hub, training, tfhf_command):
    done = tfhf_command(*training, "--hub-model-id=guild/films")
    assert done.exit_code == 0, done.stderr
    assert f"{hub.url}/guild/films/commit/" in done.stdout
    (_, (title, files)) = hub.repos["guild/films"]["main"]
    assert title == "End of training"
    assert {"model.safetensors", "tokenizer.json", "training_curves.png"} < files.keys()
    assert not any(name.startswith("checkpoint-") for name in files)
    card = huggingface_hub.ModelCard(files["README.md"].decode())
    assert {"accuracy", "f1"} <= set(card.data.metrics)
    assert "runtime" not in card.text and "| 1 | " in card.text
    assert "- max_steps: 1\n" in card.text and "num_train_epochs" not in card.text


@pytest.mark.slow
def test_a_training_whose_upload_fails_is_kept(hub, training, tmp_path, tfhf_command):
    hub.failing = {"POST .*commit": 1}
    done = tfhf_command(*training)
    assert done.exit_code == 1 and "Traceback" not in done.stderr
    assert f"tfhf: {tmp_path / 'films'} cannot be uploaded to films: " in done.stderr
    assert (tmp_path / "films/model.safetensors").exists()
    assert list(hub.files("ada/films")) == [".gitattributes"]
