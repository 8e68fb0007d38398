"""``tfhf export`` and ``tfhf serve-check``."""

import json
import shutil
from pathlib import Path

import golden
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401, the operations of tokenizers
from transformers import BertTokenizer

import tfhf
from tfhf import serving
from tfhf.sentence_encoder import normalize
from tfhf.serving import signatures

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tfhf_command):
    directory = tmp_path_factory.mktemp("saved_models") / "films"
    folder = golden.FIXTURES / "text-classification/bert"
    done = tfhf_command("export", folder, directory, "--task", "sentiment-analysis")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{directory}/1\n"
    return directory


def test_an_export_answers_as_the_pipeline(exported):
    loaded = tf.saved_model.load(str(exported / "1"))
    answer = loaded.signatures["serving_default"](text=tf.constant(["A cat."]))
    (expected,) = golden.make("text-classification", "bert")("A cat.")
    assert answer["label"].numpy() == [expected["label"].encode()]
    assert float(answer["scores"].numpy().max()) == pytest.approx(expected["score"], abs=1e-5)


@pytest.fixture
def given(monkeypatch):
    """What the export is given, which is not made."""
    given = []
    monkeypatch.setattr(
        serving, "export_model", lambda *args, **kw: given.append((args, kw)) or "x"
    )
    return given


def test_sentence_embeddings_are_those_of_the_checkpoint(tfhf_command, tmp_path, given):
    """modules.json says how states become a vector; on the command line, a setting counts more."""
    for name in ("config.json", "model.safetensors"):
        shutil.copy(FIXTURES / "BertModel" / name, tmp_path / name)
    BertTokenizer({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}).save_pretrained(tmp_path)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [{"path": p, "type": f"sentence_transformers.models.{kind}"} for p, kind in modules]
    (tmp_path / "1_Pooling").mkdir()
    for name, value in {
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": 7},
        "1_Pooling/config.json": {"pooling_mode": "cls"},
    }.items():
        (tmp_path / name).write_text(json.dumps(value))
    command = ["export", tmp_path, tmp_path / "served", "--task=sentence-embeddings"]
    done = tfhf_command(*command, "--set=prompt=query: ")
    assert done.stdout == "x\n", done.stderr
    (((_, directory, _, task), settings),) = given
    assert directory == tmp_path / "served" and task == "sentence-embeddings"
    expected = {"pooling": ("cls",), "after": (normalize,), "max_length": 7, "prompt": "query: "}
    assert settings == expected
    done = tfhf_command(*command, "--tokenizer", tmp_path)
    assert done.exit_code == 2 and "takes that of the checkpoint" in done.stderr


def test_a_setting_and_another_tokenizer(tfhf_command, tmp_path, given):
    folder = golden.FIXTURES / "text-classification"
    options = ["--task=text-classification", "--set=pairs=true", "--tokenizer", folder / "roberta"]
    done = tfhf_command("export", folder / "bert", tmp_path, *options)
    assert done.stdout == "x\n", done.stderr
    ((args, settings),) = given
    model, directory, tokenizer, *task = args
    assert type(model).__name__ == "TFBertForSequenceClassification" and directory == tmp_path
    assert "Roberta" in type(tokenizer).__name__
    assert (task or [settings.pop("task")]) == ["text-classification"]
    assert settings == {"pairs": True}


def test_a_checkpoint_without_the_head_is_refused(tfhf_command, tmp_path):
    done = tfhf_command("export", FIXTURES / "BertModel", tmp_path, "--task=fill-mask")
    assert done.exit_code == 1 and "was not trained for fill-mask: it lacks cls." in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_setting_that_is_unknown(tfhf_command, tmp_path):
    folder = golden.FIXTURES / "text-classification/bert"
    done = tfhf_command("export", folder, tmp_path, "--task=text-classification", "--set=topk=1")
    assert done.exit_code == 1 and "topk" in done.stderr


def test_tasks_are_those_of_export():
    from tfhf.cli import tasks

    assert set(tasks.EXPORTED_TASKS) == set(signatures.TASKS)
    assert tasks.ALIASES == signatures.ALIASES


@pytest.fixture
def found(monkeypatch):
    """What serve_check finds, and what it was asked."""
    problem = serving.serve_check.__globals__["CheckedRequest"]
    asked = []

    def check(requests):
        def serve_check(*arguments, **settings):
            asked.append((arguments, settings))
            return serving.ServeCheck(Path("films/1"), 0.5, (100.0, 200.0), requests, [])

        monkeypatch.setattr(serving, "serve_check", serve_check)
        return asked

    return check, lambda text: problem("tokens", 1, {}, 0.0, text)


def test_serve_check_tells_what_it_finds(found, tfhf_command, tmp_path):
    check, request = found
    asked = check([request("")])
    done = tfhf_command("serve-check", tmp_path, "--version=3", "--callers=1", "--callers=8")
    assert done.exit_code == 0 and "as with Python" in done.stdout
    assert asked == [((tmp_path, 3), {"seconds": 1.0, "callers": [1, 8]})]


def test_serve_check_fails_where_an_answer_is_wrong(found, tfhf_command, tmp_path):
    check, request = found
    asked = check([request("logits differs by 3")])
    done = tfhf_command("serve-check", tmp_path)
    assert done.exit_code == 1 and "logits differs by 3" in done.stdout
    assert asked == [((tmp_path, None), {"seconds": 1.0})]


def test_serve_check_of_no_saved_model(tfhf_command, tmp_path):
    done = tfhf_command("serve-check", tmp_path)
    assert done.exit_code == 1 and done.stderr.startswith("tfhf: ")
    assert "expected a SavedModel" in done.stderr


@pytest.mark.slow
def test_a_real_sentence_encoder(tfhf_command, tmp_path, minilm_folder):
    done = tfhf_command("export", minilm_folder, tmp_path, "--task=sentence-embeddings")
    assert done.exit_code == 0, done.stderr
    texts = ["A cat sleeps.", "", "an unusually long sentence, " * 200]
    served = tf.saved_model.load(done.stdout.strip()).signatures["serving_default"]
    expected = tfhf.SentenceEncoder.from_pretrained(minilm_folder).encode(texts)
    found = served(text=tf.constant(texts))["embedding"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_an_export_is_checked(exported, tfhf_command):
    done = tfhf_command("serve-check", exported, "--callers=1", "--seconds=0.1")
    assert done.exit_code == 0, done.stdout + done.stderr
    assert "serving_default" in done.stdout and "as with Python" in done.stdout
