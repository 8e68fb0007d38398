"""What all pipelines share: batches, streams, options, and errors."""

import io
import time

import numpy as np
import psutil
import pytest
import tensorflow as tf
import transformers
from datasets import Dataset
from golden import FIXTURES, alone, answer, groups, load, make, same

import tfhf
from tfhf.pipelines import base

TEXTS = [f"A {'moving ' * (i * 7 % 11)}film {i}." for i in range(50)]
TASKS = (
    "feature-extraction",
    "fill-mask",
    "question-answering",
    "summarization",
    "text-classification",
    "text-generation",
    "token-classification",
    "translation",
    "zero-shot-classification",
)


CHECKPOINTS = dict.fromkeys(TASKS, "bert") | {
    "summarization": "t5",
    "text-generation": "gpt2",
    "translation": "t5",
}
OPTIONS = {
    "summarization": {"max_new_tokens": 3},
    "text-generation": {"max_new_tokens": 3},
    "translation": {"max_new_tokens": 3},
    "zero-shot-classification": {"candidate_labels": ["a", "long label"]},
}


@pytest.fixture(scope="module")
def classifier():
    return make("text-classification", "bert")


@pytest.fixture(scope="module")
def singly(classifier):
    return [classifier(text)[0] for text in TEXTS]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_list_gives_what_its_texts_give(classifier, singly, batch_size):
    same(classifier(TEXTS, batch_size=batch_size), singly)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.filterwarnings("ignore")
def test_batches_give_what_single_inputs_give(task, batch_size):
    several = groups(task)
    assert sum(map(len, several)) > 8
    for cases in several:
        together = cases[0] | {"inputs": [case["inputs"] for case in cases]}
        ours = answer(task, together, **({"batch_size": batch_size} if batch_size else {}))
        same(ours, [alone(task, case) for case in cases], tolerance=2e-5)


def test_order_over_many_windows(classifier, singly, monkeypatch):
    monkeypatch.setattr(base, "STREAM_BATCHES", 2)
    monkeypatch.setattr(base, "LIST_BATCHES", 3)
    same(list(classifier(iter(TEXTS), batch_size=3)), singly)
    same(classifier(TEXTS, batch_size=3), singly)


def test_a_generator_is_read_a_window_at_a_time(classifier, singly):
    read = []

    def texts():
        for text in TEXTS * 4:
            read.append(text)
            yield text

    results = classifier(texts(), batch_size=2)
    assert not read
    same(next(results), singly[0])
    assert len(read) == 2 * base.STREAM_BATCHES
    same(list(results), (singly * 4)[1:])
    assert len(read) == 200


def test_datasets(classifier, singly):
    data = Dataset.from_dict({"text": TEXTS})
    same(list(classifier(data["text"])), singly)
    same(list(classifier(data)), singly)
    same(list(classifier(data.to_iterable_dataset())), singly)
    pairs = Dataset.from_dict({"text": TEXTS[:3], "text_pair": TEXTS[3:6]})
    alone = [classifier({"text": a, "text_pair": b}) for a, b in zip(TEXTS[:3], TEXTS[3:6])]
    same(list(classifier(pairs)), alone)


def test_rows_of_similar_length_share_a_batch(classifier, monkeypatch):
    widths = []
    run = classifier.run
    monkeypatch.setattr(type(classifier), "concurrent_batches", 1)
    monkeypatch.setattr(
        classifier, "run", lambda rows, s: widths.append([*map(base._length, rows)]) or run(rows, s)
    )
    classifier(TEXTS, batch_size=10)
    assert [len(batch) for batch in widths] == [10] * 5
    flat = [length for batch in widths for length in batch]
    assert flat == sorted(flat, reverse=True)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.filterwarnings("ignore")
def test_one_graph_serves_all_batches(task):
    model, tokenizer = load(task, CHECKPOINTS[task])
    pipe = tfhf.pipeline(task, model, tokenizer=tokenizer, **OPTIONS.get(task, {}))
    traced = []
    read = pipe.read
    pipe.read = lambda *outputs: traced.append(task) or read(*outputs)
    model_functions = getattr(model, "generation_functions", {})
    model_functions.clear()
    texts = ["film " * i + (tokenizer.mask_token or "") for i in (1, 2, 3, 5, 8, 13)]
    if task == "question-answering":
        texts = [{"question": "Who?", "context": text} for text in texts]
    for batch_size in (1, 2, 4):
        assert len(pipe(texts, batch_size=batch_size)) == len(texts)
    if model_functions:
        (function,) = model_functions.values()
        assert function.whole.experimental_get_tracing_count() == 1
        traced.append(task)
    assert traced == [task]


def test_a_batch_that_fails_ends_the_others(classifier, monkeypatch):
    begun = []

    def run(rows, settings):
        begun.append(rows)
        time.sleep(0.01)  # as long as a batch
        raise RuntimeError("no luck")

    monkeypatch.setattr(classifier, "run", run)
    with pytest.raises(RuntimeError, match="no luck"):
        classifier(TEXTS * 4, batch_size=1)
    assert len(begun) < 50


def test_without_padding_token_only_equal_lengths_share_a_batch(singly):
    model, tokenizer = load("text-classification", "bert")
    blank = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    assert blank.pad_token is None
    pipe = tfhf.pipeline("text-classification", model, tokenizer=blank)
    batches = []
    run = pipe.run
    pipe.run = lambda rows, s: batches.append({base._length(row) for row in rows}) or run(rows, s)
    same(pipe(TEXTS), singly)
    assert all(len(lengths) == 1 for lengths in batches)
    assert len(batches) < 20


def test_padding_at_the_left(singly):
    model, tokenizer = load("token-classification", "bert")
    pipe = tfhf.pipeline("token-classification", model, tokenizer=tokenizer)
    left = transformers.AutoTokenizer.from_pretrained(
        FIXTURES / "token-classification/bert", padding_side="left"
    )
    padded = tfhf.pipeline("token-classification", model, tokenizer=left)
    rows = [[5, 6, 7], [8]]
    tokens = padded.pad([{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows])
    assert tokens["input_ids"].numpy().tolist() == [[5, 6, 7], [0, 0, 8]]
    assert tokens["attention_mask"].numpy().tolist() == [[1, 1, 1], [0, 0, 1]]
    outputs = {"logits": np.arange(6).reshape(2, 3)}
    assert [
        own["logits"].tolist()
        for own in padded.split(outputs, [{"input_ids": row} for row in rows])
    ] == [[0, 1, 2], [5]]
    same(padded(TEXTS[0]), pipe(TEXTS[0]))


def test_options_of_a_call_count_before_those_of_the_pipeline():
    model, tokenizer = load("text-classification", "bert")
    pipe = tfhf.pipeline("sentiment-analysis", model, tokenizer=tokenizer, top_k=2, batch_size=3)
    assert pipe.batch_size == 3
    assert len(pipe(TEXTS[:1])[0]) == 2
    assert len(pipe(TEXTS[:1], top_k=3)[0]) == 3
    assert len(pipe(TEXTS[:1])[0]) == 2


def test_progress_bar(classifier, monkeypatch):
    terminal = io.StringIO()
    bar = base.tqdm
    monkeypatch.setattr(base, "SILENT_SECONDS", 0)
    monkeypatch.setattr(base, "tqdm", lambda **options: bar(file=terminal, **options))
    classifier(TEXTS)
    assert not terminal.getvalue()  # no terminal
    terminal.isatty = lambda: True
    classifier(TEXTS)
    assert "50/50" in terminal.getvalue()


def test_no_progress_bar_on_short_work(classifier, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    bar = base.tqdm
    monkeypatch.setattr(base, "tqdm", lambda **options: bar(file=terminal, **options))
    classifier(TEXTS[:3])
    assert "3" not in terminal.getvalue()


def test_save_pretrained(classifier, singly, tmp_path):
    classifier.save_pretrained(tmp_path)
    again = tfhf.pipeline(model=str(tmp_path))
    assert again.task == "text-classification"
    same(again(TEXTS[:5]), singly[:5])


def test_device(classifier, singly):
    model, tokenizer = load("text-classification", "bert")
    for device in (-1, "cpu", "/CPU:0"):
        pipe = tfhf.pipeline("sentiment-analysis", model, tokenizer=tokenizer, device=device)
        same(pipe(TEXTS[:2]), singly[:2])
    with pytest.raises(ValueError, match="device must be -1"):
        tfhf.pipeline("sentiment-analysis", model, tokenizer=tokenizer, device="abacus")(TEXTS[0])
    with pytest.raises(ValueError, match="device is 'gpu:99', but TensorFlow sees only CPU:0"):
        tfhf.pipeline("sentiment-analysis", model, tokenizer=tokenizer, device=99)(TEXTS[0])


def test_names_of_devices(monkeypatch):
    there = [tf.config.LogicalDevice(f"/device:GPU:{i}", "GPU") for i in (0, 1)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda: there)
    assert [base.device_name(each) for each in (1, "cuda:0", "/GPU:1", "gpu")] == [
        "/GPU:1",
        "/GPU:0",
        "/GPU:1",
        "/GPU:0",
    ]


def test_unknown_task():
    with pytest.raises(KeyError, match="Unknown task 'sentiment'") as error:
        tfhf.pipeline("sentiment")
    for task in (*TASKS, "ner", "sentiment-analysis", "translation_xx_to_yy"):
        assert task in str(error.value)
    with pytest.raises(KeyError, match="use 'translation_xx_to_yy'"):
        tfhf.pipeline("translation_en_fr")
    with pytest.raises(ValueError, match="translation_en_to_xx has no default checkpoint"):
        tfhf.pipeline("translation_en_to_xx")


def test_neither_task_nor_model():
    with pytest.raises(RuntimeError, match="needs a task"):
        tfhf.pipeline()
    with pytest.raises(RuntimeError, match="a tokenizer needs its model"):
        tfhf.pipeline("fill-mask", tokenizer=str(FIXTURES / "fill-mask/bert"))


@pytest.mark.parametrize("task", TASKS)
def test_default_checkpoint_out_of_reach(task, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    name = "translation_en_to_de" if task == "translation" else task
    with pytest.raises(
        OSError, match=r"without a model uses .*, revision [0-9a-f]{7}.* Pass model="
    ):
        tfhf.pipeline(name, model_kwargs={"cache_dir": tmp_path})


def test_model_without_the_head():
    model, tokenizer = load("token-classification", "bert")
    with pytest.raises(
        TypeError, match="needs a TFBertForSequenceClassification, but the model is"
    ):
        tfhf.pipeline("text-classification", model, tokenizer=tokenizer)
    with pytest.raises(
        TypeError, match="model: TFAutoModelForSeq2SeqLM has no class for BertConfig"
    ):
        tfhf.pipeline("summarization", model, tokenizer=tokenizer)
    with pytest.raises(TypeError, match="model must be a model of tfhf, but is a Tokenizer"):
        tfhf.pipelines.TextClassificationPipeline(tokenizer.backend_tokenizer, tokenizer)


def test_checkpoint_without_the_head():
    folder = str(FIXTURES / "feature-extraction/bert")
    with pytest.raises(ValueError, match=r"no weights for the head of TFBertForSequence.*\['BertM"):
        tfhf.pipeline("text-classification", folder)


def test_the_task_of_a_model():
    for task in ("feature-extraction", "fill-mask", "text-classification", "text-generation"):
        model, tokenizer = load(task, "gpt2" if task == "text-generation" else "roberta")
        assert tfhf.pipeline(model=model, tokenizer=tokenizer).task == task
        assert tfhf.pipeline(model=model.name_or_path).task == task


def test_task_that_cannot_be_told(tmp_path):
    transformers.BertConfig(architectures=["BertForSomething"]).save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match=r"cannot be told from the architectures \['BertForSome"):
        tfhf.pipeline(model=str(tmp_path))


def test_checkpoint_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OSError, match="model='/nowhere/model' is no folder here"):
        tfhf.pipeline("fill-mask", "/nowhere/model")
    model, _ = load("text-classification", "bert")
    model.save_pretrained(tmp_path)
    with pytest.raises(OSError, match=r"has no tokenizer \(.*tokenizer.json.*\): save the model's"):
        tfhf.pipeline("text-classification", tmp_path)


def test_wrong_arguments(classifier):
    with pytest.raises(ValueError, match="framework must be 'tf', but is 'pt'"):
        tfhf.pipeline("fill-mask", framework="pt")
    with pytest.raises(ValueError, match="never runs code"):
        tfhf.pipeline("fill-mask", trust_remote_code=True)
    model, tokenizer = load("fill-mask", "bert")
    with pytest.raises(TypeError, match="task must be a name such as 'fill-mask', but is 5"):
        tfhf.pipeline(5)
    with pytest.raises(TypeError, match="model must be a TFPreTrainedModel, a folder or a Hub id"):
        tfhf.pipeline("fill-mask", tokenizer.backend_tokenizer, tokenizer=tokenizer)
    with pytest.raises(TypeError, match=r"tokenizer must be a .*, but is a builtins\.int"):
        tfhf.pipeline("fill-mask", model, tokenizer=5)
    with pytest.raises(ValueError, match="batch_size must be at least 1, but is 0"):
        classifier(TEXTS, batch_size=0)
    with pytest.raises(TypeError, match="fill-mask has no option 'topk'; it has top_k, targets"):
        tfhf.pipeline("fill-mask", model, tokenizer=tokenizer, topk=3)
    model.name_or_path, name = "", model.name_or_path
    with pytest.raises(ValueError, match="pass the tokenizer, too"):
        tfhf.pipeline("fill-mask", model)
    model.name_or_path = name


@pytest.mark.parametrize("wrong", [3, None, b"bytes", ["ok", 3]])
def test_wrong_input(classifier, wrong):
    with pytest.raises(ValueError, match="an input must be a string, but is"):
        classifier(wrong)


def test_too_long(classifier):
    with pytest.raises(ValueError, match="positions for 130: pass truncation=True"):
        classifier("film " * 300)
    classifier("film " * 300, truncation=True)


@pytest.mark.slow
def test_memory_stays_flat(classifier):
    process = psutil.Process()
    texts = (f"film {i}" for i in range(100_000))
    sizes = []
    for i, _ in enumerate(classifier(texts)):
        if i % 10_000 == 9_999:
            sizes.append(process.memory_info().rss)
    assert len(sizes) == 10
    assert sizes[-1] - sizes[1] < 20 * 2**20
