"""What every architecture does beside its numbers: train, also under XLA, export, resize, mask."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from parity import heads_of

import tfhf
from tfhf.models.decoder import TFDecoderPreTrainedModel
from tfhf.models.names import MODELS

FIXTURES = Path(__file__).parents[1] / "fixtures"
FAMILIES = [
    next(name for name in names if name.endswith("PreTrainedModel"))
    .removeprefix("TF")
    .removesuffix("PreTrainedModel")
    for names in MODELS.values()
]
#: Transformer-XL takes no mask; its scores are log-probabilities, which move with new tokens.
most_families = pytest.mark.parametrize(
    "family", [name for name in FAMILIES if name != "TransfoXL"]
)
#: the same, where compiling takes so long that only some run with the fast tests
compiled = pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=[] if family in ("Bert", "Longformer") else pytest.mark.slow)
        for family in FAMILIES
    ],
)


def load(family, head, **kwargs):
    """Return the model of a fixture; "LM" is the head that scores tokens."""
    names = ("ForMaskedLM", "ForCausalLM", "LMHeadModel") if head == "LM" else (head, f"Text{head}")
    head = next(name for name in names if name in heads_of(family))
    return getattr(tfhf, f"TF{family}{head}").from_pretrained(
        FIXTURES / f"{family}{head}", **kwargs
    )


def examples(model, rows=16, length=6):
    """Random ids without padding; the label is told by the second token."""
    low = (model.config.pad_token_id or 0) + 1
    ids = np.random.default_rng(0).integers(low, model.config.vocab_size, (rows, length))
    return ids, (ids[:, 1] > (low + model.config.vocab_size) / 2).astype(np.int64)


@compiled
def test_fit(family):
    """In graphs and under XLA, two epochs with the course's optimizer give the same losses."""
    losses = []
    for jit_compile in (False, True):
        config = load(family, "ForSequenceClassification").config
        no_dropout = {name: 0.0 for name in config.to_dict() if "drop" in name}
        model = load(family, "ForSequenceClassification", **no_dropout)
        ids, labels = examples(model)
        data = tf.data.Dataset.from_tensor_slices(({"input_ids": ids}, labels))
        data = data.batch(8, drop_remainder=True)
        optimizer = tfhf.AdamWeightDecay(1e-3, weight_decay_rate=0.01)
        model.compile(optimizer, metrics=["accuracy"], jit_compile=jit_compile)
        # Biases and normalisations, which do not decay: what moves them is a gradient.
        vectors = [weight for weight in model.trainable_weights if len(weight.shape) == 1]
        before = [np.array(weight) for weight in vectors]
        losses.append(model.fit(data, epochs=2, verbose=0).history["loss"])
        moved = [np.any(a != b) for a, b in zip(before, vectors)]
        assert np.mean(moved) > 0.6  # a pooler may be without use
    np.testing.assert_allclose(losses[1], losses[0], rtol=0, atol=1e-4)


@compiled
def test_xla_gives_the_same_logits(family):
    model = load(family, "LM")
    ids, _ = examples(model)
    expected = model(ids).logits
    logits = tf.function(lambda x: model(x).logits, jit_compile=True)(tf.constant(ids))
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5)


@most_families
def test_masked_padding_changes_nothing(family):
    """The course's example: [200, 200, 200] beside [200, 200, padding]."""
    model = load(family, "ForSequenceClassification")
    token, padding = model.config.vocab_size - 1, model.config.pad_token_id
    alone = [model(np.array([[token] * n])).logits[0] for n in (3, 2)]
    ids = np.array([[token, token, token], [token, token, padding]])
    together = model(ids, attention_mask=np.array([[1, 1, 1], [1, 1, 0]])).logits
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)
    if not isinstance(model, TFDecoderPreTrainedModel):  # its last token sees no padding anyway
        assert np.abs(model(ids).logits[1] - alone[1]).max() > 1e-4  # the mask is what does it


@most_families
@pytest.mark.parametrize("size", [20, 41])
def test_resize_token_embeddings(family, size, tmp_path):
    model = load(family, "LM")
    old = model.config.vocab_size
    kept = min(old, size)
    ids = examples(model)[0] % 20
    before = model(ids).logits.numpy()
    model.resize_token_embeddings(size)
    after = model(ids).logits.numpy()
    assert after.shape[-1] == size and model.config.vocab_size == size
    np.testing.assert_allclose(after[..., :kept], before[..., :kept], rtol=0, atol=1e-6)
    model.save_pretrained(tmp_path)
    again, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    np.testing.assert_allclose(again(ids).logits, after, rtol=0, atol=1e-6)


@compiled
def test_the_c_loader_runs_its_export(family, tmp_path, program):
    model = load(family, "ForSequenceClassification")
    version = model.export(tmp_path / "model")
    ids, _ = examples(model, rows=3)
    outputs = program.tokens(version, ids)
    np.testing.assert_allclose(outputs["logits"], model(ids).logits, rtol=0, atol=1e-5)


def test_every_family_has_fixtures():
    folders = [FIXTURES / f"{family}{head}" for family in FAMILIES for head in heads_of(family)]
    missing = [folder.name for folder in folders if not folder.is_dir()]
    assert not missing and shutil.which("gcc")
