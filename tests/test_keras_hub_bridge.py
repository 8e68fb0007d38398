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
    "bart": ("BartBackbone", HEADS),
    "bert": ("BertBackbone", HEADS),
    "distilbert": ("DistilBertBackbone", HEADS),
    "gemma2": (
        "GemmaBackbone",
        QUERIES
        | {
            "head_dim": 6,
            "use_post_ffw_norm": True,
            "use_post_attention_norm": True,
            "attention_logit_soft_cap": 5.0,
            "final_logit_soft_cap": 3.0,
            "use_sliding_window_attention": True,
            "sliding_window_size": 4,
        },
    ),
    "gpt2": ("GPT2Backbone", HEADS | {"intermediate_dim": 48}),
    "llama": (
        "Llama3Backbone",
        QUERIES
        | {
            "tie_word_embeddings": True,
            "layer_norm_epsilon": 1e-5,
        },
    ),
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
    "mistral": ("MistralBackbone", QUERIES | {"sliding_window": 4, "rope_scaling_factor": 2.0}),
    "qwen2": (
        "QwenBackbone",
        QUERIES
        | {
            "tie_word_embeddings": False,
            "use_sliding_window_attention": True,
            "sliding_window_size": 4,
        },
    ),
    "qwen3": (
        "Qwen3Backbone",
        QUERIES
        | {
            "head_dim": 6,
            "tie_word_embeddings": True,
            "layer_norm_epsilon": 1e-5,
            "sliding_window_size": 4,
        },
    ),
    "roberta": ("RobertaBackbone", HEADS),
    "xlm-roberta": ("XLMRobertaBackbone", HEADS),
}
TASKS = {
    "bart": "BartSeq2SeqLM",
    "gemma2": "GemmaCausalLM",
    "gpt2": "GPT2CausalLM",
    "llama": "Llama3CausalLM",
    "llama-scaled": "Llama3CausalLM",
    "mistral": "MistralCausalLM",
    "qwen2": "QwenCausalLM",
    "qwen3": "Qwen3CausalLM",
}
IDS = np.random.default_rng(0).integers(3, 30, (2, 9))  # none is padding
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
    if kind == "bart":
        sides = ("encoder", "decoder")
        inputs = {f"{side}_{name}": inputs[name] for side in sides for name in inputs}
    outputs = model(inputs)
    return np.array(outputs["sequence_output"] if isinstance(outputs, dict) else outputs)


def ours_on(model):
    inputs = {"input_ids": IDS, "attention_mask": MASK}
    if model.config.is_encoder_decoder:
        inputs |= {f"decoder_{name}": values for name, values in inputs.items()}
    outputs = model(**inputs)
    return outputs.logits if "logits" in outputs else outputs.last_hidden_state


def assert_equal(ours, theirs):
    seen = MASK == 1
    bound = 1e-5 * np.abs(theirs[seen]).max()
    np.testing.assert_allclose(np.array(ours)[seen], theirs[seen], rtol=0, atol=bound)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.slow if kind in ("gemma2", "bart") else ())
        for kind in BACKBONES
    ],
)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "model_class, config_class, settings",
    [
        ("TFGemma3ForCausalLM", "Gemma3TextConfig", {"sliding_window": 4}),
        ("TFSmolLM3ForCausalLM", "SmolLM3Config", {}),
    ],
)
def test_one_way(model_class, config_class, settings):
    size = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
    size |= {"num_key_value_heads": 2, "intermediate_size": 20, "head_dim": 4, "pad_token_id": 0}
    size |= {"query_pre_attn_scalar": 4, "bos_token_id": 1, "eos_token_id": 2}
    config = getattr(transformers, config_class)(**size, **settings)
    ours = getattr(tfhf, model_class)(config)
    scrambled(ours)
    assert_equal(ours_on(ours), theirs_on(tfhf.to_keras_hub(ours), config.model_type))


def test_a_preset_by_its_folder(tmp_path):
    theirs = keras_hub.models.DistilBertBackbone(**HEADS)
    theirs.save_to_preset(tmp_path / "preset")
    ours = tfhf.from_keras_hub(tmp_path / "preset")
    assert_equal(ours_on(ours), theirs_on(theirs, "distilbert"))


def test_other_architectures():
    with pytest.raises(ValueError, match="preset is a BloomBackbone, but tfhf takes only Albert"):
        tfhf.from_keras_hub(keras_hub.models.BloomBackbone(**SIZES, num_heads=3))
    model = tfhf.TFCTRLModel(transformers.CTRLConfig(n_layer=1, n_embd=8, n_head=2, dff=8))
    with pytest.raises(ValueError, match="ctrl"):
        tfhf.to_keras_hub(model)


def test_what_roberta_learnt_of_token_types_is_kept():
    size = {"vocab_size": 30, "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 3}
    size |= {"intermediate_size": 20, "max_position_embeddings": 18, "type_vocab_size": 1}
    ours = tfhf.TFRobertaModel(transformers.RobertaConfig(**size, layer_norm_eps=1e-5))
    scrambled(ours)
    assert_equal(ours_on(ours), theirs_on(tfhf.to_keras_hub(ours), "roberta"))


def test_settings_that_tfhf_has_not():
    scaled = keras_hub.models.Llama3Backbone(**QUERIES, rope_position_scaling_factor=2.0)
    with pytest.raises(ValueError, match="preset has the rope_position_scaling_factor 2.0, which"):
        tfhf.from_keras_hub(scaled)
    with pytest.raises(ValueError, match="preset has use_post_attention_norm=False: of Gemmas"):
        tfhf.from_keras_hub(keras_hub.models.GemmaBackbone(**QUERIES, head_dim=6))


def test_settings_that_keras_hub_has_not():
    size = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    size |= {"num_key_value_heads": 2, "intermediate_size": 8, "head_dim": 4}
    config = transformers.Qwen3Config(**size, use_sliding_window=True, max_window_layers=1)
    with pytest.raises(ValueError, match="layer_types: .* but model has it in 1 of 2"):
        tfhf.to_keras_hub(tfhf.TFQwen3Model(config))
    rotation = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    config = transformers.MistralConfig(**size, rope_parameters=rotation)
    with pytest.raises(ValueError, match="rope_type: KerasHub's mistral has no 'dynamic'"):
        tfhf.to_keras_hub(tfhf.TFMistralModel(config))
    config = transformers.Gemma2Config(**size, query_pre_attn_scalar=8)
    with pytest.raises(ValueError, match="query_pre_attn_scalar must be KerasHub's, head_dim = 4"):
        tfhf.to_keras_hub(tfhf.TFGemma2Model(config))
