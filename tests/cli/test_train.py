"""``tfhf train``, ``eval`` and ``predict``: from files to a checkpoint, to metrics, to answers."""

import csv
import json
import math

import golden
import keras
import numpy as np
import pytest
from transformers import BertConfig, BertTokenizer

import tfhf

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "very", "good", "bad", "film", "##s"]
OUTPUT = ["--report-to", "none", "--disable-tqdm"]


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    """A tiny random BERT that knows few words."""
    folder = tmp_path_factory.mktemp("bert")
    keras.utils.set_random_seed(0)  # of a module's fixtures, that of tests knows nothing
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        initializer_range=0.3,  # it shall learn in a few steps
    )
    tfhf.TFBertModel(config).save_pretrained(folder)
    BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """CSV whose columns have names of their own."""
    path = tmp_path_factory.mktemp("data") / "films.csv"
    lines = [
        f"a {'very ' * (i % 3)}{('bad', 'good')[i % 2]} film,{['no', 'yes'][i % 2]}"
        for i in range(48)
    ]
    path.write_text("\n".join(["review,liked", *lines]) + "\n")
    return path


COLUMNS = ["--column", "text=review", "--column", "label=liked"]


@pytest.fixture(scope="module")
def trained(body, films, tmp_path_factory, tfhf_command):
    folder = tmp_path_factory.mktemp("run") / "films"
    config = folder.with_name("training.yaml")
    config.write_text("num_train_epochs: 4\nlearning_rate: 1e-9\nreport_to: none\n")
    done = tfhf_command(
        "train", "--task=sentiment-analysis", "--model", body, "--train-file", films,
        "--validation-file", films, *COLUMNS, "--output_dir", folder, "--config", config,
        "--learning-rate=0.02", "--disable_tqdm",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    return folder, done.stdout


def test_training_leaves_a_checkpoint_with_metrics_and_a_card(trained):
    folder, output = trained
    assert "train metrics" in output and "eval_accuracy" in output
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "no", "1": "yes"}
    results = json.loads((folder / "all_results.json").read_text())
    assert results["eval_accuracy"] == results["eval_f1"] == 1.0
    arguments = json.loads((folder / "training_args.json").read_text())
    assert (arguments["learning_rate"], arguments["num_train_epochs"]) == (0.02, 4)
    card = (folder / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card and "num_train_epochs" in card
    classify = tfhf.pipeline("text-classification", str(folder))
    assert [each["label"] for each in classify(["a good film", "a bad film"])] == ["yes", "no"]


def test_eval_prints_what_can_be_counted(trained, films, tmp_path, tfhf_command):
    """Two of these labels are wrong."""
    path = tmp_path / "some.jsonl"
    rows = [
        ("a good film", "yes"),
        ("a bad film", "yes"),
        ("bad", "no"),
        ("good", "no"),
        ("bad", "no"),
    ]
    path.write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in rows))
    line = ["eval", "--task=text-classification", "--model", trained[0], "--file", path]
    done = tfhf_command(*line)
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["eval_accuracy"] == pytest.approx(3 / 5)
    assert found["eval_f1"] == pytest.approx((2 / 4 + 4 / 6) / 2)
    assert not list(tmp_path.glob("trainer_output"))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_predict_answers_as_the_pipeline(suffix, trained, films, tmp_path, tfhf_command):
    target = tmp_path / f"out{suffix}"
    line = ["predict", "--task=text-classification", "--model", trained[0], "--file", films]
    done = tfhf_command(*line, "--column", "text=review", "--output", target)
    assert done.exit_code == 0, done.stderr
    with films.open() as file:
        rows = list(csv.DictReader(file))
    expected = tfhf.pipeline("text-classification", str(trained[0]))(
        [row["review"] for row in rows]
    )
    with target.open() as file:
        if suffix == ".csv":
            found = list(csv.DictReader(file))
            assert [row["liked"] for row in found] == [row["liked"] for row in rows]
        else:
            found = [json.loads(line) for line in file]
    assert [row["label"] for row in found] == [row["label"] for row in expected]
    scores = [float(row["score"]) for row in found]
    np.testing.assert_allclose(scores, [row["score"] for row in expected], atol=1e-6)


def tags_file(path, names=True):
    rows = [
        {"tokens": ["a", "good", "films"], "tags": ["O", "B-X", "I-X"]},
        {"tokens": ["bad", "films"] * 12, "tags": ["O", "B-X"] * 12},
    ]
    if not names:
        rows = [
            {**row, "tags": [["O", "B-X", "I-X"].index(tag) for tag in row["tags"]]} for row in rows
        ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows * 4))
    return path


@pytest.mark.slow
def test_tags_are_learnt_of_whole_words(body, tmp_path, tfhf_command):
    path = tags_file(tmp_path / "ner.jsonl")
    folder = tmp_path / "run"
    task = ["--task=ner", "--max-length=12"]
    done = tfhf_command(
        "train", *task, "--model", body, "--train-file", path, "--output-dir", folder,
        "--num-train-epochs=30", "--learning-rate=0.03", *OUTPUT,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert json.loads((folder / "config.json").read_text())["id2label"] == {
        "0": "B-X", "1": "I-X", "2": "O"
    }  # fmt: skip
    done = tfhf_command("eval", *task, "--model", folder, "--file", path)
    assert json.loads(done.stdout)["eval_f1"] == 1.0, done.stderr
    done = tfhf_command("predict", *task, "--model", folder, "--file", path)
    first, second, *_ = (json.loads(line)["tags"] for line in done.stdout.splitlines())
    assert first == ["O", "B-X", "I-X"]
    # 10 tokens beside [CLS] and [SEP]; "films" takes two.
    assert second == ["O", "B-X"] * 3 + ["O"]


@pytest.mark.slow
@pytest.mark.oracle
def test_the_perplexity_of_a_causal_model_is_pytorchs(tmp_path, tfhf_command):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = golden.FIXTURES / "text-generation/gpt2"
    texts = ["A cat sleeps on the warm roof.", "Who wrote the letter?"] * 6
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    line = ["eval", "--task=text-generation", "--model", folder, "--file", path, "--max-length=16"]
    done = tfhf_command(*line)
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)

    # The file of the fixture has names of its own.
    tfhf.TFAutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [i for text in texts for i in [*tokenizer(text).input_ids, tokenizer.eos_token_id]]
    pieces = torch.tensor(ids[: len(ids) // 16 * 16]).reshape(-1, 16)
    with torch.no_grad():
        loss = AutoModelForCausalLM.from_pretrained(tmp_path)(pieces, labels=pieces).loss.item()
    assert found["eval_loss"] == pytest.approx(loss, abs=1e-5)
    assert found["eval_perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("task, metric", [("summarization", "rougeL"), ("translation", "bleu")])
def test_texts_are_judged_by_what_is_written(task, metric, tmp_path, tfhf_command):
    folder = golden.FIXTURES / "summarization/t5"
    texts = ["Where is it?", "Yes"]  # the model writes some words of each
    options = ["--task", task, "--model", folder, "--generation-max-length=8"]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    done = tfhf_command("predict", *options, "--file", path)
    assert done.exit_code == 0, done.stderr
    written = [next(iter(json.loads(line).values())) for line in done.stdout.splitlines()]
    model = tfhf.TFAutoModelForSeq2SeqLM.from_pretrained(folder)
    tokenizer = tfhf.AutoTokenizer.from_pretrained(folder)
    prefix = ((model.config.task_specific_params or {}).get(task) or {}).get("prefix", "")
    tokens = tokenizer([prefix + text for text in texts], padding=True, return_tensors="tf")
    ids = model.generate(**tokens, max_length=8)
    assert written == tokenizer.batch_decode(ids, skip_special_tokens=True)

    rows = ({"text": text, "target": target} for text, target in zip(texts, written))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = tfhf_command("eval", *options, "--file", path)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)[f"eval_{metric}"] == pytest.approx(
        1.0 if task == "summarization" else 100.0
    )


def test_tfrecords_hold_what_the_tokenizer_says(body, films, tmp_path, tfhf_command):
    line = ["data", "to-tfrecord", tmp_path / "shards", "--task=text-classification"]
    done = tfhf_command(*line, "--model", body, "--file", films, *COLUMNS, "--rows-per-file=20")
    assert done.exit_code == 0, done.stderr
    assert "48 rows" in done.stdout and "3 files" in done.stdout
    batches = list(tfhf.read_tfrecords(tmp_path / "shards", batch_size=48))
    with films.open() as file:
        rows = list(csv.DictReader(file))
    tokenizer = tfhf.AutoTokenizer.from_pretrained(body)
    tokens = tokenizer([row["review"] for row in rows], padding=True, return_tensors="np")
    (batch,) = batches
    for name in tokens:
        np.testing.assert_array_equal(batch[name], tokens[name])
    assert batch["labels"].numpy().tolist() == [int(row["liked"] == "yes") for row in rows]


def test_a_second_file_has_the_numbers_of_the_first(body, tmp_path, tfhf_command):
    def write(name, tags, *options):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(f'{{"tokens": ["a"], "tags": ["{tag}"]}}\n' for tag in tags))
        line = ["data", "to-tfrecord", tmp_path / name, "--task=ner", "--model", body]
        return tfhf_command(*line, "--file", path, *options)

    first = write("train", "bca")
    assert first.exit_code == 0, first.stderr
    assert json.loads((tmp_path / "train/dataset.json").read_text())["label_names"] == list("abc")
    second = write("dev", "ac", "--labels-from", tmp_path / "train")
    assert second.exit_code == 0, second.stderr
    assert json.loads((tmp_path / "dev/dataset.json").read_text())["label_names"] == list("abc")
    (batch,) = tfhf.read_tfrecords(tmp_path / "dev", batch_size=2)
    assert batch["labels"].numpy().tolist() == [[-100, 0, -100], [-100, 2, -100]]
    third = write("test", "ad", "--labels-from", tmp_path / "train")
    assert third.exit_code == 1 and "the label 'd' is none of the model's: a, b, c" in third.stderr


@pytest.mark.parametrize(
    "line, message",
    [
        ("train --task=text-classification", "--model"),
        ("train --task=text-classification --model=x", "pass either --train-file or --dataset"),
        ("train --task=nothing --model=x --dataset=y", "invalid choice: 'nothing'"),
        ("train --task=ner --model=x --dataset=y --learning-rats=3", "--learning-rats"),
        ("train --task=ner --model=x --dataset=y --learning-rate=much", "--learning-rate"),
        ("train --task=ner --model=x --dataset=y --learning-rate -1", "learning_rate must be"),
        ("train --task=ner --model=x --dataset=y --bf16 --fp16", "exclude each other"),
        ("train --task=ner --model=x --dataset=y --config=absent.yaml", "absent.yaml"),
        ("train --task=translation_foo --model=x --dataset=y", "invalid choice"),
        ("eval --task=ner --model=x --file=absent.csv", "there is no file absent.csv"),
        ("predict --task=ner --model=x --dataset=y --output=a.txt", "must end in .jsonl or .csv"),
        ("predict --task=ner --model=x --dataset=y --output=absent/a.csv", "no folder absent"),
        ("eval --task=ner --model=x --dataset=y --max-length=0", "--max-length must be at least 1"),
        ("predict --task=fill-mask --model=x --dataset=y", "use `tfhf pipeline fill-mask`"),
        ("data to-tfrecord x --task=ner --model=x", "pass either --file or --dataset"),
        (
            "data to-tfrecord x --task=fill-mask --model=x --dataset=y --labels-from=z",
            "fill-mask has no labels with names",
        ),
    ],
)
def test_wrong_use(line, message, tfhf_command):
    done = tfhf_command(*line.split())
    assert done.exit_code == 2 and message in done.stderr and "Traceback" not in done.stderr


BROKEN = {
    "no label": ("review\ngood\n", "needs the column 'label', but there is text: pass --column"),
    "no text": ("liked\nyes\n", "has no column 'review' but liked"),
    "empty cell": ("review,liked\n,yes\n", "the column 'text' has rows without a value"),
    "another label": (
        "review,liked\ngood,maybe\n",
        "the label 'maybe' is none of the model's: no, yes",
    ),
    "ragged": ("review,liked\ngood,yes\nbad,no,maybe\n", "cannot be read"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_rows_are_told_in_a_line(case, trained, tmp_path, tfhf_command):
    content, message = BROKEN[case]
    path = tmp_path / "films.csv"
    path.write_text(content)
    columns = COLUMNS[:2] if case == "no label" else COLUMNS
    line = ["eval", "--task=text-classification", "--model", trained[0], "--file", path]
    done = tfhf_command(*line, *columns)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("tfhf: ") and message in done.stderr


def test_what_tensorflow_says_is_told(body, films, tfhf_command):
    line = ["data", "to-tfrecord", "/proc/shards", "--task=text-classification", "--model", body]
    done = tfhf_command(*line, "--file", films, *COLUMNS)
    assert done.exit_code == 1 and "tfhf: /proc/shards" in done.stderr


def test_a_checkpoint_that_is_not_there_is_named(films, tfhf_command):
    line = ["train", "--task=text-classification", "--model=absent", "--train-file", films]
    done = tfhf_command(*line, *COLUMNS)
    assert done.exit_code == 1 and "absent" in done.stderr


def test_a_body_without_its_head_is_not_measured(body, films, tfhf_command):
    line = ["eval", "--task=fill-mask", "--model", body, "--file", films, "--column=text=review"]
    done = tfhf_command(*line, "--max-length=8")
    assert done.exit_code == 1 and "was not trained for fill-mask" in done.stderr
