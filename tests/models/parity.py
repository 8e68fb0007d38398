"""The tests that every architecture passes: the same numbers and the same files as PyTorch.

A model's test file names its family and some configurations::

    class TestBert(ParityTests):
        family = "Bert"
        configs = {"plain": BertConfig(**TINY), …}
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
import transformers
from cache_tests import BATCH, LENGTH, TOLERANCE, CacheTests
from seq2seq_cases import LM_HEADS, seq2seq_inputs, targets

import tfhf
from tfhf.layers import Dropout
from tfhf.models.decoder import TFDecoderPreTrainedModel
from tfhf.models.names import MODELS
from tfhf.models.seq2seq_base import TFSeq2SeqPreTrainedModel

WITHOUT_LABELS = ("Model", "EncoderModel", "TextModel", "DoubleHeadsModel")


def heads_of(family: str) -> list[str]:
    """Return the heads of a family that there are: ``Model``, ``ForMaskedLM``, …"""
    names = next(names for names in MODELS.values() if f"TF{family}PreTrainedModel" in names)
    heads = [name.removeprefix(f"TF{family}") for name in names]
    return sorted(head for head in heads if head != "PreTrainedModel")


def token_inputs(config: Any, rng: np.random.Generator, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the input cases of a body: {case: inputs}."""
    ids = rng.integers(0, config.vocab_size, (BATCH, LENGTH))
    ids[0, 0], ids[0, 1] = 0, config.vocab_size - 1
    lengths = np.array([LENGTH, 4, 1])[:, None]
    right = (np.arange(LENGTH) < lengths).astype(np.int64)
    cases = {
        "right padding": {"input_ids": ids, "attention_mask": right},
        "left padding": {"input_ids": ids, "attention_mask": right[:, ::-1].copy()},
        "no mask": {"input_ids": ids},
        "length 1": {"input_ids": ids[:, :1]},
        "vectors": {
            "inputs_embeds": rng.normal(size=(BATCH, LENGTH, embedding_size(config))).astype(
                np.float32
            ),
            "attention_mask": right,
        },
    }
    every = {"input_ids": ids, "attention_mask": right}
    if "token_type_ids" in names and getattr(config, "type_vocab_size", 0):
        every["token_type_ids"] = rng.integers(0, config.type_vocab_size, ids.shape)
    if "position_ids" in names:
        limit = getattr(config, "max_position_embeddings", LENGTH)
        every["position_ids"] = rng.integers(0, limit, ids.shape)
    cases["every input"] = every
    return cases


def embedding_size(config: Any) -> int:
    """Return the size of the vectors that a token table holds."""
    names = ("embedding_size", "word_embed_proj_dim", "hidden_size")
    return next(getattr(config, name) for name in names if hasattr(config, name))


def cross_attention_inputs(config: Any, rng: np.random.Generator) -> dict[str, dict[str, Any]]:
    """Return what cases get from an encoder, where a decoder looks at one: {case: inputs}."""
    states = rng.normal(size=(BATCH, 5, config.hidden_size)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 1, 0, 1]])
    without_mask = {"encoder_hidden_states": states}
    return {
        "every input": without_mask,
        "cross-attention": without_mask | {"encoder_attention_mask": mask},
    }


def labels_for(head: str, config: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return labels that fit a head and inputs of [BATCH, LENGTH]."""
    head = head.removeprefix("Text")  # of Gemma 3
    if head in LM_HEADS:
        return {"labels": targets(config, rng)}
    tokens = rng.integers(0, config.vocab_size, (BATCH, LENGTH))
    masked = np.where(rng.random((BATCH, LENGTH)) < 0.5, tokens, -100)
    follows = rng.integers(0, 2, BATCH)
    if head in ("ForMaskedLM", "ForCausalLM", "LMHeadModel"):
        return {"labels": masked}
    if head == "ForPreTraining":
        if config.model_type == "electra":
            return {"labels": rng.integers(0, 2, (BATCH, LENGTH))}
        if config.model_type == "albert":
            return {"labels": masked, "sentence_order_label": follows}
        return {"labels": masked, "next_sentence_label": follows}
    if head == "ForNextSentencePrediction":
        return {"labels": follows}
    if head == "ForTokenClassification":
        return {"labels": np.where(masked < 0, -100, masked % config.num_labels)}
    if head == "ForQuestionAnswering":
        return {
            "start_positions": np.array([0, LENGTH - 1, LENGTH + 3]),
            "end_positions": np.array([2, LENGTH - 1, 3]),
        }
    if head == "ForMultipleChoice":
        return {"labels": np.array([BATCH - 1])}
    if head == "ForSequenceClassification":
        if config.problem_type == "multi_label_classification":
            return {"labels": rng.integers(0, 2, (BATCH, config.num_labels)).astype(np.float32)}
        if config.num_labels == 1:
            return {"labels": rng.normal(size=BATCH).astype(np.float32)}
        return {"labels": rng.integers(0, config.num_labels, BATCH)}
    return {}


def as_choices(head: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give inputs the axis of choices where the head wants it."""
    if head not in ("ForMultipleChoice", "DoubleHeadsModel"):
        return inputs
    choices = {name: value[None] for name, value in inputs.items()}
    if head == "DoubleHeadsModel":
        rows, length = inputs["input_ids"].shape
        choices["mc_token_ids"] = np.arange(rows)[None] * 3 % length
    return choices


def to_torch(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the same inputs as PyTorch tensors: copies, for some models change their inputs."""
    import torch

    return {
        name: (torch.tensor(value[0]),) if isinstance(value, tuple) else torch.tensor(value)
        for name, value in inputs.items()
    }


def randomize(model: Any, seed: int) -> None:
    """Give all parameters random values that make every part of a model matter."""
    import torch

    torch.manual_seed(seed)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        noise = torch.randn_like(parameter)
        if parameter.ndim > 1:
            parameter.data.copy_(0.15 * noise)
        else:
            parameter.data.add_(0.1 * noise)
    if hasattr(model, "final_logits_bias"):  # of BART and those made from it
        model.final_logits_bias.normal_()


@functools.lru_cache(maxsize=4)
def torch_model(family: str, head: str, config_json: str) -> tuple[Any, Path, Any]:
    """Return a random PyTorch model, the folder that it was saved to, and a guard of the folder."""
    config_class = getattr(tfhf, f"TF{family}{head}").config_class
    import json

    config = config_class.from_dict(json.loads(config_json))
    model = getattr(transformers, family + head)(config).eval()
    model.set_attn_implementation("eager")
    randomize(model, seed=1)
    guard = tempfile.TemporaryDirectory()
    model.save_pretrained(guard.name)
    return model, Path(guard.name), guard


def assert_equal_outputs(ours: Any, theirs: Any, tolerance: float, case: str) -> None:
    """Compare all tensors that both outputs have."""
    compared = 0
    for name, expected in theirs.items():
        if name == "past_key_values" or (isinstance(expected, tuple) and not expected):
            continue
        got = ours[name]
        pairs = zip(got, expected, strict=True) if isinstance(got, tuple) else [(got, expected)]
        for i, (a, b) in enumerate(pairs):
            np.testing.assert_allclose(
                a.numpy(), b.detach().float().numpy(), rtol=0, atol=tolerance,
                err_msg=f"{case}: {name}[{i}]",
            )  # fmt: skip
            compared += 1
    assert compared, f"{case}: nothing was compared"


@pytest.mark.oracle
class ParityTests(CacheTests):
    """Subclasses are collected; this class itself is not, for its name does not start with Test."""

    family: str
    configs: dict[str, Any]
    #: {a parameter's name in files: the one that PyTorch's model knows it by}, where they differ
    in_memory: ClassVar[dict[str, str]] = {}
    #: heads that the PyTorch family lacks, with the reason
    without_oracle: tuple[str, ...] = ()

    def pytest_generate_tests(self, metafunc: Any) -> None:
        if {"head", "config"} <= set(metafunc.fixturenames):
            test = metafunc.function.__name__
            training = test == "test_ten_training_steps"
            pairs = [
                pytest.param(head, config, id=f"{head}-{name}", marks=self.marks(test, name))
                for name, config in self.configs.items()
                for head in heads_of(self.family)
                if self.fits(head, config)
                # One configuration of each head that has labels is enough to train.
                and not (training and (head in WITHOUT_LABELS or name != "plain"))
                and not (test.startswith("test_cache") and not self.continues_text(head, config))
            ]
            metafunc.parametrize(("head", "config"), pairs)

    def marks(self, test: str, config_name: str) -> list[Any]:
        """Leave what costs most and tells least about a new architecture to the slow tests."""
        if self.family in ("Bert", "DistilBert"):
            return []
        slow = test in ("test_ten_training_steps", "test_keras_file") or (
            test == "test_bfloat16" and config_name != "plain"
        )
        slow |= test == "test_cache_in_place_under_xla" and self.family != "GPT2"
        return [pytest.mark.slow] if slow else []

    def continues_text(self, head: str, config: Any) -> bool:
        """Whether there are keys and values to keep for the next token."""
        model = getattr(tfhf, f"TF{self.family}{head}")
        looks_back = issubclass(model, TFDecoderPreTrainedModel | TFSeq2SeqPreTrainedModel)
        looks_back |= getattr(config, "is_decoder", False)
        return model.can_generate and looks_back and "past_key_values" in model.input_names

    def fits(self, head: str, config: Any) -> bool:
        """Whether a configuration makes sense for a head."""
        head = head.removeprefix("Text")
        if head == "ForQuestionAnswering" and not config.is_encoder_decoder:
            return config.num_labels == 2  # an encoder-decoder's head has so many anyway
        if config.problem_type or config.num_labels == 1:
            return head == "ForSequenceClassification"
        return head not in self.without_oracle

    def pair(self, head: str, config: Any) -> tuple[Any, Any, Path]:
        """Return the PyTorch model, ours with the same weights, and the folder between them."""
        theirs, folder, _ = torch_model(self.family, head, config.to_json_string(use_diff=False))
        ours_class = getattr(tfhf, f"TF{self.family}{head}")
        ours, info = ours_class.from_pretrained(folder, output_loading_info=True)
        assert info == {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": []}
        return theirs, ours, folder

    def inputs(self, head: str, config: Any, ours: Any, seed: int = 0) -> dict[str, Any]:
        """Return all input cases of a head."""
        rng = np.random.default_rng(seed)
        cases = token_inputs(config, rng, ours.input_names)
        if "decoder_input_ids" in ours.input_names:
            return seq2seq_inputs(head, config, rng, cases)
        sees_encoder = head in ("Model", "ForCausalLM", "LMHeadModel")
        if sees_encoder and getattr(config, "add_cross_attention", False):
            for case, more in cross_attention_inputs(config, rng).items():
                cases[case] = cases["every input"] | more
        if head == "DoubleHeadsModel":  # PyTorch's knows no choices in other inputs
            del cases["vectors"], cases["every input"]["position_ids"]
        return cases

    def test_outputs(self, head: str, config: Any) -> None:
        theirs, ours, _ = self.pair(head, config)
        flags = {"output_attentions": True, "output_hidden_states": True}
        labels = labels_for(head, config, np.random.default_rng(2))
        for case, inputs in self.inputs(head, config, ours).items():
            inputs = as_choices(head, inputs)
            if case not in ("length 1",):
                inputs |= labels
            expected = theirs(**to_torch(inputs), **flags)
            got = ours(**inputs, **flags)
            kinds = {name.removeprefix("decoder_") for name in got}
            assert {"hidden_states", "attentions"} <= kinds
            assert (got.get("loss") is None) == (expected.get("loss") is None)
            assert_equal_outputs(got, expected, TOLERANCE, case)
            if "num_states" in ours.body_inputs({}):  # without flags, not all states are made
                got = ours(**inputs)
                expected = {name: expected[name] for name in got}
                assert_equal_outputs(got, expected, TOLERANCE, case)

    def test_gradients(self, head: str, config: Any) -> None:
        theirs, ours, _ = self.pair(head, config)
        labels = labels_for(head, config, np.random.default_rng(2))
        inputs = as_choices(head, self.inputs(head, config, ours)["right padding"]) | labels
        theirs.zero_grad()
        expected = theirs(**to_torch(inputs))
        loss = expected.loss if labels else expected[0].square().mean()
        loss.backward()
        with tf.GradientTape() as tape:
            got = ours(**inputs)
            loss = got.loss if labels else tf.reduce_mean(tf.square(got[0]))
        gradients = tape.gradient(loss, [weight.value for weight in ours.weights])
        by_id = {id(weight): g for weight, g in zip(ours.weights, gradients)}
        parameters = dict(theirs.named_parameters(remove_duplicate=False))
        compared = 0
        for binding in ours.weight_table.bind(ours):
            if not binding.variable.trainable:  # waves, which PyTorch's DistilBERT trains
                assert all("position" in n or n == "final_logits_bias" for n in binding.names)
                continue
            gradient = by_id[id(binding.variable)]
            if gradient is None:  # a pooler that the head does not use
                names = [self.in_memory.get(name, name) for name in binding.names]
                grads = [parameters[name].grad for name in names if name in parameters]
                assert all(grad is None or not grad.any() for grad in grads), binding.names
                continue
            arrays = binding.split(tf.convert_to_tensor(gradient).numpy())
            for name, array in zip(binding.names, arrays):
                name = self.in_memory.get(name, name)
                expected_grad = parameters[name].grad.numpy()
                module = theirs.get_submodule(name.rpartition(".")[0])
                hidden_row = getattr(module, "padding_idx", None)
                if hidden_row is not None:  # PyTorch leaves out the gradient of padding's row
                    array = np.delete(array, hidden_row, axis=0)
                    expected_grad = np.delete(expected_grad, hidden_row, axis=0)
                np.testing.assert_allclose(array, expected_grad, rtol=0, atol=TOLERANCE,
                                           err_msg=name)  # fmt: skip
                compared += 1
        assert compared > 3

    def test_files_both_ways(self, head: str, config: Any, tmp_path: Path) -> None:
        theirs, ours, _ = self.pair(head, config)
        ours.save_pretrained(tmp_path)
        again, info = type(theirs).from_pretrained(tmp_path, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"], info
        assert not info["mismatched_keys"]
        again = again.eval()
        again.set_attn_implementation("eager")
        inputs = as_choices(head, self.inputs(head, config, ours)["right padding"])
        expected = theirs(**to_torch(inputs))
        got = again(**to_torch(inputs))
        for name in got:
            if name != "past_key_values":
                np.testing.assert_allclose(
                    got[name].detach(), expected[name].detach(), rtol=0, atol=1e-6, err_msg=name
                )
        assert again.config.architectures == [self.family + head]

    def test_bfloat16(self, head: str, config: Any) -> None:
        """Ours in bfloat16 is about as far from float32 as PyTorch's bfloat16 is."""
        import torch

        theirs, _, folder = self.pair(head, config)
        ours = getattr(tfhf, f"TF{self.family}{head}").from_pretrained(folder, dtype="bfloat16")
        half = type(theirs).from_pretrained(folder, dtype=torch.bfloat16).eval()
        half.to(torch.bfloat16)  # some parameters of DeBERTa stay float32, and do not work
        half.set_attn_implementation("eager")
        inputs = as_choices(head, self.inputs(head, config, ours)["right padding"])
        exact, rounded = theirs(**to_torch(inputs)), half(**to_torch(inputs))
        got = ours(**inputs)
        for name, expected in exact.items():
            if name == "past_key_values":
                continue
            error = np.abs(got[name].numpy().astype(np.float32) - expected.detach().numpy())
            allowed = np.abs((rounded[name].float() - expected).detach().numpy())
            assert error.max() <= 2 * allowed.max() + 1e-2, name

    def test_ten_training_steps(self, head: str, config: Any) -> None:
        """AdamW from the same weights on the same batches gives the same losses."""
        import torch

        theirs, _, folder = self.pair(head, config)
        theirs = type(theirs).from_pretrained(folder, attn_implementation="eager")
        ours = getattr(tfhf, f"TF{self.family}{head}").from_pretrained(folder)
        for layer in ours._flatten_layers():
            if isinstance(layer, Dropout):
                layer.rate = 0.0
        for module in theirs.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        named = dict(theirs.named_parameters())
        kept = [p for name, p in named.items() if name.endswith("bias") or "norm" in name.lower()]
        decayed = [p for p in named.values() if not any(p is other for other in kept)]
        adamw = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.01}, {"params": kept, "weight_decay": 0.0}],
            lr=1e-3,
        )
        ours.compile(tfhf.AdamWeightDecay(1e-3, epsilon=1e-8, weight_decay_rate=0.01))
        theirs.eval()  # dropout is 0, and attention's own reads only the mode
        for step in range(10):
            inputs = self.inputs(head, config, ours, seed=step)["right padding"]
            # PyTorch leaves out the gradient of padding's row: let no token be padding.
            ids, padding = inputs["input_ids"], config.pad_token_id
            inputs["input_ids"] = np.where(ids == padding, padding + 1, ids)
            labels = labels_for(head, config, np.random.default_rng(step))
            inputs = as_choices(head, inputs) | labels
            adamw.zero_grad()
            expected = theirs(**to_torch(inputs)).loss
            expected.backward()
            adamw.step()
            loss = ours.train_on_batch(inputs, return_dict=True)["loss"]
            # The tracked loss is a mean since the last reset; reset it to see each step.
            ours.reset_metrics()
            np.testing.assert_allclose(loss, expected.item(), rtol=0, atol=1e-4, err_msg=str(step))

    def test_keras_file(self, head: str, config: Any, tmp_path: Path) -> None:
        _, ours, _ = self.pair(head, config)
        ours.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        inputs = as_choices(head, self.inputs(head, config, ours)["right padding"])
        for a, b in zip(ours(**inputs).values(), again(**inputs).values(), strict=True):
            np.testing.assert_array_equal(a, b)
