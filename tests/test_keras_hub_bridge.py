"""KerasHub's own outputs beside ours, both ways."""

import keras_hub
import numpy as np
import pytest
import transformers

import tfhf

SIZES = {"vocabulary_size": 30, "num_layers": 2, "hidden_dim": 12, "intermediate_dim": 20}
HEADS = SIZES | {"num_heads": 3, "max_sequence_length": 16, "dropout": 0.0}
QUERIES = SIZES | {"num_query_heads": 4, "num_key_value_heads": 2, "hidden_dim": 16}
BACKBONES = {
    "albert": ("AlbertBackbone", HEADS | {"embedding_dim": 6, "num_segments": 2}),
    "bert": ("BertBackbone", HEADS),
    "distilbert": ("DistilBertBackbone", HEADS),
    "gpt2": ("GPT2Backbone", HEADS | {"intermediate_dim": 48}),
    "llama": ("Llama3Backbone", QUERIES),
    "llama-scaled": (
        "Llama3Backbone",
        QUERIES
        | {
            "rope_frequency_adjustment_factor": 8.0,
            "rope_low_freq_factor": 1.0,
            "rope_high_freq_factor": 4.0,
            "rope_pretraining_sequence_length": 32,
        },
    ),
    "mistral": ("MistralBackbone", QUERIES | {"sliding_window": 4}),
    "qwen2": ("QwenBackbone", QUERIES | {"tie_word_embeddings": False}),
    "qwen3": (
        "Qwen3Backbone",
        QUERIES | {"head_dim": 6, "tie_word_embeddings": True, "layer_norm_epsilon": 1e-5},
    ),
}
TASKS = {
    "gpt2": "GPT2CausalLM",
    "llama": "Llama3CausalLM",
    "llama-scaled": "Llama3CausalLM",
    "mistral": "MistralCausalLM",
    "qwen2": "QwenCausalLM",
    "qwen3": "Qwen3CausalLM",
}
IDS = np.random.default_rng(0).integers(1, 30, (2, 9))
MASK = np.array([[1] * 9, [1] * 6 + [0] * 3])


def scrambled(model):
    """Give every weight another value: biases that are 0 would hide faults.

    KerasHub's converter rounds Mistral's to float16, so all are numbers that it has.
    """
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if "float" in weight.dtype:
            value = np.array(weight) + rng.normal(0, 0.1, weight.shape)
            weight.assign(value.astype("float16").astype("float32"))


def theirs_on(model, kind):
    inputs = {"token_ids": IDS, "padding_mask": MASK}
    if kind in ("albert", "bert"):
        inputs["segment_ids"] = MASK * 0
    outputs = model(inputs)
    return np.array(outputs["sequence_output"] if isinstance(outputs, dict) else outputs)


def ours_on(model):
    outputs = model(IDS, attention_mask=MASK)
    return outputs.logits if "logits" in outputs else outputs.last_hidden_state


def assert_equal(ours, theirs):
    seen = MASK == 1
    bound = 1e-5 * np.abs(theirs[seen]).max()
    np.testing.assert_allclose(np.array(ours)[seen], theirs[seen], rtol=0, atol=bound)


@pytest.mark.parametrize("kind", BACKBONES)
def test_both_ways(kind):
    name, settings = BACKBONES[kind]
    theirs = getattr(keras_hub.models, name)(**settings)
    if kind in TASKS:
        theirs = getattr(keras_hub.models, TASKS[kind])(backbone=theirs, preprocessor=None)
    scrambled(theirs)
    expected = theirs_on(theirs, kind)
    ours = tfhf.from_keras_hub(theirs)
    assert_equal(ours_on(ours), expected)
    back = tfhf.to_keras_hub(ours)
    assert type(back) is type(theirs)
    np.testing.assert_allclose(theirs_on(back, kind), expected, rtol=0, atol=1e-6)


def test_a_preset_by_its_folder(tmp_path):
    theirs = keras_hub.models.DistilBertBackbone(**HEADS)
    theirs.save_to_preset(tmp_path / "preset")
    ours = tfhf.from_keras_hub(str(tmp_path / "preset"))
    assert_equal(ours_on(ours), theirs_on(theirs, "distilbert"))


def test_other_architectures():
    with pytest.raises(ValueError, match="preset is a BloomBackbone, but tfhf takes only Albert"):
        tfhf.from_keras_hub(keras_hub.models.BloomBackbone(**SIZES, num_heads=3))
    model = tfhf.TFCTRLModel(transformers.CTRLConfig(n_layer=1, n_embd=8, n_head=2, dff=8))
    with pytest.raises(ValueError, match="ctrl"):
        tfhf.to_keras_hub(model)
