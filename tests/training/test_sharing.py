"""What Trainer tells a Hub of this process: uploads, and what cards say of a training."""

from types import SimpleNamespace

import huggingface_hub
import pytest
from training_data import make_rows, make_trainer

import tfhf
from tfhf.training.sharing import epoch_history, hyperparameters


def test_hyperparameters_are_what_differs_and_what_always_counts():
    told = hyperparameters(
        tfhf.Seq2SeqTrainingArguments(
            "/home/ada/runs",
            hub_token="hf_secret",
            warmup_ratio=0.1,
            bf16=True,
            label_smoothing_factor=0.0,
            generation_num_beams=4,
        )
    )
    assert told == {
        "learning_rate": 5e-5,
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 8,
        "num_train_epochs": 3.0,
        "seed": 42,
        "optim": "adamw",
        "lr_scheduler_type": "linear",
        "warmup_ratio": 0.1,
        "bf16": True,
        "generation_num_beams": 4,
    }
    told = hyperparameters(tfhf.TrainingArguments("runs", max_steps=10))
    assert told["max_steps"] == 10 and "num_train_epochs" not in told


def test_history_has_the_last_evaluation_of_each_epoch():
    """A training that was resumed after its first epoch, and evaluated every 2 of 3 steps."""
    logs = [
        {"eval_loss": 0.9, "epoch": 0.0, "step": 0},
        {"eval_loss": 0.8, "epoch": 2 / 3, "step": 2},
        {"loss": 0.7, "epoch": 1.0, "step": 3},
        {"eval_loss": 0.6, "epoch": 4 / 3, "step": 4},
        {"eval_loss": 0.5, "eval_f1": 0.7, "epoch": 2.0, "step": 6},
        {"train_loss": 0.65, "epoch": 3.0, "step": 9},
    ]
    fitted = SimpleNamespace(epoch=[1, 2], history={"loss": [0.55, 0.45]})
    trainer = SimpleNamespace(
        model=SimpleNamespace(history=fitted), state=SimpleNamespace(log_history=logs)
    )
    assert epoch_history(trainer) == {
        "val_loss": [0.8, 0.5, None],
        "loss": [None, 0.55, 0.45],
        "val_f1": [None, 0.7, None],
    }
    assert epoch_history(SimpleNamespace(model=None, state=tfhf.TrainerState())) == {}


@pytest.fixture
def trainer(hub, tmp_path):
    return make_trainer(
        tmp_path / "moods",
        rows=make_rows(8),
        eval_rows=make_rows(4, seed=1),
        eval_strategy="epoch",
        num_train_epochs=2,
        push_to_hub=True,
        hub_model_id="guild/moods",
        hub_private_repo=True,
    )


@pytest.mark.slow
def test_uploads(hub, trainer, tmp_path):
    trainer.train()
    assert hub.private == {"guild/moods"}
    assert [title for title, _ in hub.repos["guild/moods"]["main"]][-1] == "End of training"
    first = hub.files("guild/moods")["README.md"].decode()
    address = trainer.push_to_hub("Ready", dataset="glue", evaluation=trainer.evaluate())
    assert address.startswith(f"{hub.url}/guild/moods/commit/")
    title, files = hub.repos["guild/moods"]["main"][-1]
    assert title == "Ready"
    assert files["model.safetensors"] == (tmp_path / "moods/model.safetensors").read_bytes()
    assert files["training_curves.png"].startswith(b"\x89PNG")
    card = huggingface_hub.ModelCard(files["README.md"].decode())
    assert card.data.datasets == ["glue"] and card.data.metrics is None
    (loss, _), history = trainer.model.history.history["loss"], trainer.state.log_history
    evaluated = next(logs["eval_loss"] for logs in history if "eval_loss" in logs)
    for text in (first, card.text):
        assert f"| 1 | {loss:.4g} | {evaluated:.4g} |" in text
        assert "- num_train_epochs: 2" in text and "- learning_rate: 0.001" in text
        assert "runtime" not in text and str(tmp_path) not in text


def test_a_card_alone(hub, trainer, tmp_path):
    trainer.create_model_card(model_name="ada/films", license="mit")
    card = huggingface_hub.ModelCard.load(tmp_path / "moods/README.md")
    assert (card.data.license, card.data.model_name) == ("mit", "films")
    assert 'model="ada/films"' in card.text
    assert not hub.repos
