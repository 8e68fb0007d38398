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
from tfhf.models.seq2seq_heads import TFForConditionalGeneration

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


LM_HEADS = ("ForMaskedLM", "ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "MTModel")


def load(family, head, **kwargs):
    """Return the model of a fixture; "LM" is the head that scores tokens.

    It stands in where an encoder-decoder has no other.
    """
    names = LM_HEADS if head == "LM" else (head, f"Text{head}", *LM_HEADS)
    head = next(name for name in names if name in heads_of(family))
    return getattr(tfhf, f"TF{family}{head}").from_pretrained(
        FIXTURES / f"{family}{head}", **kwargs
    )


def examples(model, rows=16, length=6):
    """Random ids without padding; the label is told by the second token, or is the first ids."""
    low = (model.config.pad_token_id or 0) + 1
    ids = np.random.default_rng(0).integers(low, model.config.vocab_size, (rows, length))
    if model.config.is_encoder_decoder:
        ids[:, -1] = model.config.eos_token_id
    if isinstance(model, TFForConditionalGeneration):
        return ids, ids[:, :3]
    return ids, (ids[:, 1] > (low + model.config.vocab_size) / 2).astype(np.int64)


def logits_of(model, ids, **inputs):
    """Return the logits for ids, which an encoder-decoder's target has one of."""
    if isinstance(model, TFForConditionalGeneration):
        inputs["decoder_input_ids"] = ids[:, :1]
    return model(ids, **inputs).logits


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
    expected = logits_of(model, ids)
    logits = tf.function(lambda x: logits_of(model, x), jit_compile=True)(tf.constant(ids))
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5)


@most_families
def test_masked_padding_changes_nothing(family):
    """The course's example: [200, 200, 200] beside [200, 200, padding]."""
    model = load(family, "ForSequenceClassification")
    token, padding = model.config.vocab_size - 1, model.config.pad_token_id
    end = model.config.eos_token_id if model.config.is_encoder_decoder else token
    rows = [[token, token, end], [token, end]]
    alone = [logits_of(model, np.array([row]))[0] for row in rows]
    ids = np.array([rows[0], [*rows[1], padding]])
    together = logits_of(model, ids, attention_mask=np.array([[1, 1, 1], [1, 1, 0]]))
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)
    if not isinstance(model, TFDecoderPreTrainedModel):  # its last token sees no padding anyway
        unmasked = logits_of(model, ids)[1]
        assert np.abs(unmasked - alone[1]).max() > 1e-4  # the mask is what does it


@most_families
@pytest.mark.parametrize("size", [20, 41])
def test_resize_token_embeddings(family, size, tmp_path):
    model = load(family, "LM")
    old = model.config.vocab_size
    kept = min(old, size)
    ids = examples(model)[0] % 20
    before = logits_of(model, ids).numpy()
    model.resize_token_embeddings(size)
    after = logits_of(model, ids).numpy()
    assert after.shape[-1] == size and model.config.vocab_size == size
    np.testing.assert_allclose(after[..., :kept], before[..., :kept], rtol=0, atol=1e-6)
    model.save_pretrained(tmp_path)
    again, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    np.testing.assert_allclose(logits_of(again, ids), after, rtol=0, atol=1e-6)


@compiled
def test_the_c_loader_runs_its_export(family, tmp_path, program):
    model = load(family, "ForSequenceClassification")
    version = model.export(tmp_path / "model")
    ids, _ = examples(model, rows=3)
    inputs = {name: ids for name in model.input_signature if name.endswith("input_ids")}
    outputs = program.tokens(version, ids)
    np.testing.assert_allclose(outputs["logits"], model(**inputs).logits, rtol=0, atol=1e-5)


def test_every_family_has_fixtures():
    folders = [FIXTURES / f"{family}{head}" for family in FAMILIES for head in heads_of(family)]
    missing = [folder.name for folder in folders if not folder.is_dir()]
    assert not missing and shutil.which("gcc")
