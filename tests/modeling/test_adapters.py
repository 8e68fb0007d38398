"""LoRA against the peft library."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import transformers
from parity import heads_of
from safetensors.numpy import load_file

import tfhf
from tfhf.adapters import TARGETS
from tfhf.layers.low_rank import updates
from tfhf.models.names import MODELS

FIXTURES = Path(__file__).parents[1] / "fixtures"
FAMILIES = [
    next(name for name in names if name.endswith("PreTrainedModel"))
    .removeprefix("TF")
    .removesuffix("PreTrainedModel")
    for names in MODELS.values()
]
#: The first of these that a family has.
HEADS = ("ForMaskedLM", "ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "MTModel")

SIZES = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "vocab_size": 30}
T5 = transformers.T5Config(d_model=12, d_kv=4, d_ff=16, num_layers=1, num_heads=3, vocab_size=30)
IDS = np.random.default_rng(0).integers(5, 30, (2, 7))
CASES = {
    # A class, a configuration, what is adapted: fused, alone, both; Conv1D; heads in turn.
    "bert": (
        "BertForSequenceClassification",
        transformers.BertConfig(**SIZES, intermediate_size=16),
        {"target_modules": ["query", "value"], "task_type": "SEQ_CLS"},
    ),
    "bert-regex": (
        "BertForTokenClassification",
        transformers.BertConfig(**SIZES, intermediate_size=16),
        {"target_modules": r".*layer\.1\..*(key|dense)", "use_rslora": True},
    ),
    "distilbert": (
        "DistilBertForSequenceClassification",
        transformers.DistilBertConfig(dim=12, n_layers=2, n_heads=3, hidden_dim=16, vocab_size=30),
        {"target_modules": ["q_lin", "v_lin", "lin1"], "task_type": "SEQ_CLS"},
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        transformers.GPT2Config(n_embd=12, n_layer=2, n_head=3, vocab_size=30),
        {"target_modules": ["c_attn", "c_proj"], "lora_alpha": 16, "r": 3},
    ),
    "gpt_neox": (
        "GPTNeoXForCausalLM",
        transformers.GPTNeoXConfig(**SIZES, intermediate_size=16),
        {},
    ),
    "llama": (
        "LlamaForCausalLM",
        transformers.LlamaConfig(**SIZES, num_key_value_heads=1, head_dim=4, intermediate_size=16),
        {"target_modules": ["v_proj", "gate_proj"]},
    ),
    "llama-all": (
        "LlamaForCausalLM",
        transformers.LlamaConfig(**SIZES, num_key_value_heads=3, intermediate_size=16),
        {"target_modules": "all-linear"},
    ),
    "t5": ("T5ForConditionalGeneration", T5, {}),
}


def inputs_of(name):
    inputs = {"input_ids": IDS}
    return inputs | ({"decoder_input_ids": IDS[:, :3]} if name == "t5" else {})


@pytest.mark.oracle
@pytest.mark.parametrize("name", CASES)
def test_same_as_peft(name, tmp_path):
    import peft
    import torch

    class_name, config, settings = CASES[name]
    torch.manual_seed(0)
    reference = getattr(transformers, class_name)(config).eval()
    reference.save_pretrained(tmp_path / "base")
    adapted = peft.get_peft_model(reference, peft.LoraConfig(**settings))
    with torch.no_grad():
        for value in adapted.parameters():
            if value.requires_grad:
                value.normal_(0, 0.3)
    adapted.save_pretrained(tmp_path / "adapter")
    inputs = {key: torch.tensor(value) for key, value in inputs_of(name).items()}
    with torch.no_grad():
        expected = adapted(**inputs).logits.numpy()

    model = getattr(tfhf, f"TF{class_name}").from_pretrained(tmp_path / "base")
    before = model(inputs_of(name)).logits.numpy()
    model.load_adapter(tmp_path / "adapter")
    close = {"rtol": 0, "atol": 2e-5 * np.abs(expected).max()}
    np.testing.assert_allclose(model(inputs_of(name)).logits, expected, **close)
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert model.num_parameters(only_trainable=True) == trained

    # Back again, and bit by bit.
    model.save_pretrained(tmp_path / "ours")
    ours, theirs = (
        load_file(tmp_path / folder / "adapter_model.safetensors") for folder in ("ours", "adapter")
    )
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours[key], value, err_msg=key)
    base = getattr(transformers, class_name).from_pretrained(tmp_path / "base").eval()
    again = peft.PeftModel.from_pretrained(base, tmp_path / "ours")
    with torch.no_grad():
        np.testing.assert_array_equal(again(**inputs).logits, expected)

    model.merge_adapter()
    np.testing.assert_allclose(model(inputs_of(name)).logits, expected, **close)
    model.save_pretrained(tmp_path / "merged")
    merged = getattr(transformers, class_name).from_pretrained(tmp_path / "merged").eval()
    with torch.no_grad():
        np.testing.assert_allclose(merged(**inputs).logits, expected, **close)
    model.unmerge_adapter()
    np.testing.assert_allclose(model(inputs_of(name)).logits, expected, **close)
    if not settings.get("modules_to_save") and not settings.get("task_type"):
        model.delete_adapter()
        np.testing.assert_allclose(model(inputs_of(name)).logits, before, **close)
        assert model.adapter is None
        assert model.num_parameters(only_trainable=True) == model.num_parameters()


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_as_peft(family, tmp_path):
    """With the modules that are adapted by default, or all that are linear if there are none."""
    import peft
    import torch
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    head = next(head for head in HEADS if head in heads_of(family))
    base = FIXTURES / f"{family}{head}"
    reference = getattr(transformers, f"{family}{head}", None)
    if reference is None:
        pytest.skip("Transformers 5 has no such model")
    reference = reference.from_pretrained(base, attn_implementation="eager").eval()
    kind = reference.config.model_type
    known = next((names.split() for names, kinds in TARGETS.items() if kind in kinds.split()), None)
    assert TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(kind, known) == known
    settings = peft.LoraConfig(target_modules=known or "all-linear")
    adapted = peft.get_peft_model(reference, settings)
    torch.manual_seed(0)
    with torch.no_grad():
        for value in adapted.parameters():
            if value.requires_grad:
                value.normal_(0, 0.3)
    adapted.save_pretrained(tmp_path)
    model = getattr(tfhf, f"TF{family}{head}").from_pretrained(base)
    ids = np.random.default_rng(0).integers(5, model.config.vocab_size, (2, 7))
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids[:, :3]
    before = model(inputs)[0].numpy()
    model.load_adapter(tmp_path)
    with torch.no_grad():
        expected = adapted(**{k: torch.tensor(v) for k, v in inputs.items()})[0].numpy()
    close = {"rtol": 0, "atol": 5e-5 * np.abs(expected).max()}
    np.testing.assert_allclose(model(inputs)[0], expected, **close)
    assert np.abs(before - expected).max() > 100 * close["atol"]
    trained = model.num_parameters(only_trainable=True)
    model.delete_adapter()
    model.add_adapter(tfhf.LoraConfig(target_modules=None if known else "all-linear"))
    assert model.num_parameters(only_trainable=True) == trained


@pytest.mark.oracle
def test_training_equals_peft(tmp_path):
    import peft
    import torch

    class_name, config, settings = CASES["bert"]
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    reference = getattr(transformers, class_name)(config)
    reference.save_pretrained(tmp_path / "base")
    adapted = peft.get_peft_model(reference, peft.LoraConfig(**settings))
    adapted.save_pretrained(tmp_path / "adapter")
    labels = np.array([0, 1])
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.5)
    expected = []
    for _ in range(5):
        loss = adapted(torch.tensor(IDS), labels=torch.tensor(labels)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())

    model = getattr(tfhf, f"TF{class_name}").from_pretrained(tmp_path / "base")
    model.load_adapter(tmp_path / "adapter")
    frozen = [w.numpy() for w in model.non_trainable_weights if w.dtype == "float32"]
    model.compile("sgd")
    model.optimizer.learning_rate = 0.5
    data = {"input_ids": IDS, "labels": labels}
    losses = [model.train_on_batch(data) for _ in range(5)]
    np.testing.assert_allclose([float(loss) for loss in losses], expected, rtol=2e-5)
    for before, after in zip(frozen, model.non_trainable_weights):
        np.testing.assert_array_equal(before, after.numpy())


def small(**settings):
    class_name, config, _ = CASES["bert"]
    model = getattr(tfhf, f"TF{class_name}")(config)
    model.add_adapter(tfhf.LoraConfig(**settings))
    return model


def test_a_new_adapter_changes_nothing_and_learns():
    model = small(r=2, lora_dropout=0.5, modules_to_save=["classifier"])
    before = model(IDS).logits.numpy()
    model.merge_adapter()
    np.testing.assert_array_equal(model(IDS).logits, before)
    model.unmerge_adapter()
    model.compile(tfhf.AdamWeightDecay(5e-2))
    history = model.fit(
        {"input_ids": IDS, "labels": np.array([0, 1])}, epochs=30, verbose=0
    ).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert any(np.any(update.b[0].numpy()) for _, update in updates(model))


def test_generation_and_export(tmp_path):
    class_name, config, settings = CASES["gpt2"]
    model = getattr(tfhf, f"TF{class_name}")(config)
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    model.generate(tf.constant(IDS), **options)
    model.add_adapter(tfhf.LoraConfig(**settings))
    for _, update in updates(model):
        update.b[0].assign(tf.random.stateless_normal(update.b[0].shape, [1, 2]))
    one_by_one = IDS
    for _ in range(4):
        best = tf.argmax(model(one_by_one).logits[:, -1], axis=-1)[:, None]
        one_by_one = tf.concat([one_by_one, best], axis=1)
    np.testing.assert_array_equal(model.generate(tf.constant(IDS), **options), one_by_one)
    loaded = tf.saved_model.load(model.export(tmp_path))
    ids = {"input_ids": tf.constant(IDS, tf.int32), "attention_mask": tf.ones_like(IDS, tf.int32)}
    served = loaded.signatures["tokens"](**ids)["logits"]
    np.testing.assert_allclose(served, model(IDS).logits, rtol=0, atol=1e-5)


def test_merge_and_unload(tmp_path):
    model = small(r=2)
    for _, update in updates(model):
        for b in update.b.values():
            b.assign(tf.random.stateless_normal(b.shape, [1, 2]))
    expected = model(IDS).logits.numpy()
    model.merge_and_unload()
    assert (model.adapter, updates(model)) == (None, [])
    np.testing.assert_allclose(model(IDS).logits, expected, rtol=0, atol=1e-5)
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_wrong_use(tmp_path):
    with pytest.raises(ValueError, match="r must be at least 1"):
        tfhf.LoraConfig(r=0)
    with pytest.raises(ValueError, match="lora_dropout must be 0 to below 1"):
        tfhf.LoraConfig(lora_dropout=1.0)
    model = small(r=2)
    with pytest.raises(ValueError, match="the model has an adapter"):
        model.add_adapter(tfhf.LoraConfig())
    with pytest.raises(ValueError, match="the model has an adapter"):
        model.save(tmp_path / "model.keras")
    model.delete_adapter()
    with pytest.raises(ValueError, match=r"names no dense layer .* end in classifier, dense, key"):
        model.add_adapter(tfhf.LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(OSError, match="it is no adapter"):
        model.load_adapter(tmp_path)
    written = {"peft_type": "LORA", "target_modules": ["query"], "use_dora": True, "bias": "all"}
    written["init_lora_weights"] = "pissa"
    (tmp_path / "adapter_config.json").write_text(json.dumps(written))
    with pytest.raises(ValueError, match="not have: bias, init_lora_weights, use_dora"):
        model.load_adapter(tmp_path)
    small(r=2).save_pretrained(tmp_path / "other")
    (tmp_path / "other/adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 3, "target_modules": ["query", "value"]})
    )
    with pytest.raises(ValueError, match="does not fit TFBertForSequenceClassification"):
        model.load_adapter(tmp_path / "other")
    assert model.adapter is None
