"""load_metric against scikit-learn, SciPy, seqeval, Transformers 4, rouge-score, sacrebleu, torch.

tests/fixtures/metrics.json is what seqeval and Transformers 4 say: tools/metric_fixtures writes it.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import corpus_bleu
from scipy import stats
from sklearn import metrics as sklearn_metrics
from transformers import GPT2Config, GPT2TokenizerFast

import tfhf

FIXTURES = json.loads(Path(__file__).parents[1].joinpath("fixtures/metrics.json").read_text())
LABELS = np.random.default_rng(0).integers(0, 2, (2, 50))
SCORES = np.random.default_rng(1).normal(size=(2, 50))
PREDICTED = ["the cat sat on the mat .", "a dog", "Nothing else matters here\nat all"]
REFERENCES = ["the cat lay on a mat .", "the dogs barked", "Nothing else matters here\nnow"]


def close(results, expected):
    assert results.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            close(results[name], value)
        else:
            np.testing.assert_allclose(results[name], value, rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    ("metric", "case"),
    [(metric, case) for metric, cases in FIXTURES.items() for case in cases],
)
def test_golden(metric, case):
    results = tfhf.load_metric(metric).compute(
        predictions=case["predictions"], references=case["references"], **case["settings"]
    )
    close(results, case["results"])


@pytest.mark.parametrize("task", ["sst2", "mnli", "mnli_mismatched", "qnli", "rte", "wnli", "ax"])
def test_glue_tasks_of_accuracy(task):
    predictions, references = LABELS
    results = tfhf.load_metric("glue", task).compute(predictions=predictions, references=references)
    close(results, {"accuracy": sklearn_metrics.accuracy_score(references, predictions)})


def test_glue_of_other_kinds():
    predictions, references = LABELS
    pair = {
        "accuracy": sklearn_metrics.accuracy_score(references, predictions),
        "f1": sklearn_metrics.f1_score(references, predictions),
    }
    matthews = sklearn_metrics.matthews_corrcoef(references, predictions)
    scored, wanted = SCORES
    correlations = {
        "pearson": stats.pearsonr(scored, wanted)[0],
        "spearmanr": stats.spearmanr(scored, wanted)[0],
    }
    for task in ("mrpc", "qqp"):
        metric = tfhf.load_metric("glue", task)
        close(metric.compute(predictions=predictions, references=references), pair)
    cola = tfhf.load_metric("glue", "cola")
    close(
        cola.compute(predictions=tf.constant(predictions), references=list(references)),
        {"matthews_correlation": matthews},
    )
    stsb = tfhf.load_metric("glue", "stsb")
    close(stsb.compute(predictions=scored, references=wanted), correlations)


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_averages(name):
    predictions, references = np.random.default_rng(2).integers(0, 4, (2, 60))
    judge = getattr(sklearn_metrics, f"{name}_score")
    metric = tfhf.load_metric(name, average="macro")
    found = metric.compute(predictions=predictions, references=references)
    close(found, {name: judge(references, predictions, average="macro")})
    found = metric.compute(predictions=predictions, references=references, average=None)
    close(found, {name: judge(references, predictions, average=None)})


def test_batches_are_as_the_whole_and_forgotten():
    predictions, references = LABELS
    metric = tfhf.load_metric("glue", "mrpc")
    whole = metric.compute(predictions=predictions, references=references)
    metric.add_batch(predictions=predictions[:20], references=tf.constant(references[:20]))
    metric.add(prediction=predictions[20], reference=references[20])
    metric.add_batch(predictions=[], references=[])
    metric.add_batch(predictions=list(predictions[21:]), references=references[21:])
    assert metric.compute() == whole
    with pytest.raises(ValueError, match="predictions of the metric glue/mrpc are empty"):
        metric.compute()


def test_rouge():
    scorer = RougeScorer(["rouge1", "rougeLsum"], use_stemmer=True)
    single = [scorer.score(*pair) for pair in zip(REFERENCES, PREDICTED)]
    expected = {name: [row[name].fmeasure for row in single] for name in ("rouge1", "rougeLsum")}
    metric = tfhf.load_metric("rouge", rouge_types=["rouge1", "rougeLsum"], use_stemmer=True)
    texts = {"predictions": PREDICTED, "references": REFERENCES}
    close(metric.compute(**texts, use_aggregator=False), expected)
    close(metric.compute(**texts), {name: np.mean(scores) for name, scores in expected.items()})
    several = metric.compute(predictions=["a dog"], references=[["one cat", "a dog"]])
    assert several == {"rouge1": 1.0, "rougeLsum": 1.0}
    by_letter = tfhf.load_metric("rouge").compute(
        predictions=["ab"], references=["ac"], tokenizer=list, rouge_types=["rouge1"]
    )
    assert by_letter == {"rouge1": 0.5}


def test_sacrebleu():
    expected = corpus_bleu(PREDICTED, [REFERENCES])
    found = tfhf.load_metric("sacrebleu").compute(
        predictions=PREDICTED, references=[[text] for text in REFERENCES]
    )
    assert found["score"] == expected.score
    assert (found["counts"], found["totals"]) == (expected.counts, expected.totals)
    assert (found["bp"], found["sys_len"]) == (expected.bp, expected.sys_len)
    lower = {"lowercase": True, "tokenize": "char", "smooth_method": "floor", "smooth_value": 0.2}
    found = tfhf.load_metric("sacrebleu", **lower).compute(
        predictions=PREDICTED, references=REFERENCES
    )
    assert found["score"] == corpus_bleu(PREDICTED, [REFERENCES], **lower).score
    with pytest.raises(ValueError, match="as many for each"):
        tfhf.load_metric("sacrebleu").compute(
            predictions=["a", "b"], references=[["a"], ["b", "c"]]
        )


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    """A causal language model of single letters, and its tokenizer."""
    letters = ["<|endoftext|>", *"abcdefghij", "Ġ"]
    tokenizer = GPT2TokenizerFast(vocab={letter: i for i, letter in enumerate(letters)}, merges=[])
    config = GPT2Config(vocab_size=len(letters), n_positions=32, n_embd=8, n_layer=1, n_head=2)
    model = tfhf.TFGPT2LMHeadModel(config)
    folder = tmp_path_factory.mktemp("letters")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, tokenizer, folder


@pytest.mark.oracle
def test_perplexity_is_that_of_torch(language_model):
    import torch
    from transformers import GPT2LMHeadModel

    model, tokenizer, folder = language_model
    reference = GPT2LMHeadModel.from_pretrained(folder).eval()
    texts = ["abc", "a", "jihgfedcba abc", "aaaa"]

    def expected(start, cut=None):
        for text in texts:
            ids = torch.tensor([(start + tokenizer(text)["input_ids"])[:cut]])
            with torch.no_grad():
                yield reference(ids, labels=ids).loss.exp().item()

    found = tfhf.load_metric("perplexity").compute(
        predictions=texts, model=model, tokenizer=tokenizer, batch_size=3
    )
    wanted = list(expected([0]))
    np.testing.assert_allclose(found["perplexities"], wanted, rtol=2e-5)
    assert found["mean_perplexity"] == np.mean(found["perplexities"])
    cut = tfhf.load_metric("perplexity", model=str(folder), max_length=3)
    found = cut.compute(predictions=texts)
    np.testing.assert_allclose(found["perplexities"], list(expected([0], 3)), rtol=2e-5)
    texts = texts[::2]
    found = cut.compute(predictions=texts, add_start_token=False, max_length=None)
    np.testing.assert_allclose(found["perplexities"], list(expected([])), rtol=2e-5)


def test_wrong_use(language_model):
    model, tokenizer, _ = language_model
    with pytest.raises(ValueError, match="path must be the name of a metric, one of .*'rouge'"):
        tfhf.load_metric("bleurt")
    with pytest.raises(ValueError, match=r"config_name of glue must be one of \['cola'"):
        tfhf.load_metric("glue", "mrcp")
    with pytest.raises(ValueError, match="config_name is for glue only"):
        tfhf.load_metric("f1", "macro")
    with pytest.raises(ValueError, match="as many as predictions: 2, but they are 1"):
        tfhf.load_metric("accuracy").compute(predictions=[1, 2], references=[1])
    with pytest.raises(ValueError, match=r"predictions\[0\] has 1 tags, references\[0\] has 2"):
        tfhf.load_metric("seqeval").compute(predictions=[["O"]], references=[["O", "O"]])
    with pytest.raises(ValueError, match="none for the question with the id '7'"):
        tfhf.load_metric("squad").compute(
            predictions=[{"id": "6", "prediction_text": ""}],
            references=[{"id": "7", "answers": {"text": ["a"], "answer_start": [0]}}],
        )
    perplexity = tfhf.load_metric("perplexity", model=model)
    with pytest.raises(ValueError, match="takes no references"):
        perplexity.add_batch(predictions=["a"], references=["b"])
    with pytest.raises(ValueError, match="tokenizer must be given"):
        perplexity.compute(predictions=["a"])
    with pytest.raises(ValueError, match="but 'a' has none"):
        perplexity.compute(predictions=["ab", "a"], tokenizer=tokenizer, add_start_token=False)
