"""The quiz of the course's chapter 4, sharing: what can be answered by running code.

A small Hub of this process stands in for the real one.
"""

import huggingface_hub
import pytest
from golden import FIXTURES, load
from huggingface_hub.errors import HfHubHTTPError

import tfhf


@pytest.mark.parametrize("what", ["model", "tokenizer", "config", "folder"])
def test_what_can_be_pushed(what, hub, tmp_path):
    """What can be shared by ``push_to_hub``? Models, tokenizers, configurations; and folders."""
    model, tokenizer = load("text-classification", "bert")
    if what == "folder":
        tokenizer.save_pretrained(tmp_path / "moods")
        tfhf.push_folder(tmp_path / "moods", repo_id="ada/moods")
    else:
        {"model": model, "tokenizer": tokenizer, "config": model.config}[what].push_to_hub(
            "ada/moods"
        )
    expected = {
        "model": {"config.json", "model.safetensors"},
        "config": {"config.json"},
    }.get(what, {"tokenizer.json", "tokenizer_config.json"})
    assert expected <= set(hub.files("ada/moods"))


def test_a_model_with_its_tokenizer(hub, tmp_path):
    """How do a model and its tokenizer come to the Hub? Each is pushed; others load both."""
    for each in load("text-classification", "bert"):
        each.push_to_hub("ada/moods")
    folder = huggingface_hub.snapshot_download("ada/moods", cache_dir=tmp_path / "elsewhere")
    local = tfhf.pipeline("text-classification", str(FIXTURES / "text-classification/bert"))
    text = "I love this moving, funny film!"
    assert tfhf.pipeline("text-classification", folder)(text) == local(text)


def test_login_comes_first(hub, monkeypatch, tmp_path):
    """What comes before the first push? To log in: without a token nothing is sent."""
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    model, _ = load("text-classification", "bert")
    with pytest.raises(HfHubHTTPError, match="401"):
        model.push_to_hub("ada/moods")
    assert not hub.repos


def test_what_a_card_says():
    """What is a model card? What others must know: what the model is for, how it was made."""
    model, _ = load("text-classification", "bert")
    card = tfhf.create_model_card(
        model, "ada/moods", dataset="glue", history={"loss": [0.5], "val_accuracy": [0.8]}
    )
    assert (card.data.pipeline_tag, card.data.library_name) == ("text-classification", "tfhf")
    assert card.data.datasets == ["glue"]
    for part in ("Intended uses", "Limitations", "Training procedure", "How to use"):
        assert part in card.text
