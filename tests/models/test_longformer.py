"""Longformer against PyTorch: windows that differ by layer, global tokens, lengths to be filled."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from parity import ParityTests
from transformers import LongformerConfig

import tfhf

ROOT = Path(__file__).parents[2]
SEPARATOR = 5
TINY = {
    "vocab_size": 29,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 17,
    "max_position_embeddings": 15,
    "type_vocab_size": 1,
    "attention_window": 4,
    "sep_token_id": SEPARATOR,
}
CONFIGS = {
    "plain": TINY,
    "a window per layer": TINY | {"num_labels": 3, "attention_window": [4, 8]},
    "odd": TINY
    | {
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "hidden_act": "relu",
        "pad_token_id": 0,
        "type_vocab_size": 3,
        "layer_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "attention_window": 10,
    },
    "regression": TINY | {"num_labels": 1, "attention_window": 6},
}


class TestLongformer(ParityTests):
    family = "Longformer"
    configs = {name: LongformerConfig(**options) for name, options in CONFIGS.items()}

    def inputs(self, head, config, ours, seed=0):
        """Pairs of texts, and global tokens at random: none, some, all, in padding too."""
        rng = np.random.default_rng(seed + 1)
        cases = super().inputs(head, config, ours, seed)
        ids = cases["right padding"]["input_ids"]
        if head in ("ForQuestionAnswering", "ForMultipleChoice"):
            ids[ids == SEPARATOR] += 1
            for row in ids:
                row[rng.permutation(np.arange(1, ids.shape[1]))[:3]] = SEPARATOR
        marked = rng.integers(0, 2, ids.shape)
        for name in ("right padding", "left padding", "vectors"):
            cases[f"{name}, global"] = cases[name] | {"global_attention_mask": marked}
        cases["every input"]["global_attention_mask"] = np.where(
            cases["every input"]["attention_mask"], marked, -1
        )
        cases["all global"] = {"input_ids": ids, "global_attention_mask": np.ones_like(ids)}
        cases["none global"] = {"input_ids": ids, "global_attention_mask": np.zeros_like(ids)}
        cases["length 1"]["global_attention_mask"] = marked[:, :1]
        if head == "ForSequenceClassification":  # PyTorch's class needs the mask beside vectors
            del cases["vectors"]
        return cases


def model(head="Model", **options):
    config = LongformerConfig(**TINY | {"max_position_embeddings": 99} | options)
    return getattr(tfhf, f"TFLongformer{head}")(config)


def test_windows_that_fill_to_their_common_multiple():
    """The result is that of each token alone in its window, whatever is added."""
    body = model(attention_window=[4, 6])
    ids = np.random.default_rng(0).integers(6, 29, (2, 31))
    out = body(ids).last_hidden_state
    assert out.shape == (2, 31, 12)
    # 2 + 3 tokens away, nothing of the first is left.
    changed = body(np.where(np.arange(31) == 0, 6, ids) + (np.arange(31) == 0)).last_hidden_state
    difference = np.abs(out - changed).max((0, 2))
    assert difference[:6].min() > 0 and difference[6:].max() == 0


@pytest.mark.parametrize("head", ["ForQuestionAnswering", "ForMultipleChoice"])
def test_unknown_length(head):
    net = model(head)
    ids = np.random.default_rng(0).integers(6, 29, (2, 3, 21))
    ids[..., [3, 4, 15]] = SEPARATOR
    ids = ids if head == "ForMultipleChoice" else ids[0]
    spec = tf.TensorSpec([None] * ids.ndim, tf.int64)
    compiled = tf.function(lambda ids: net(ids)[0], input_signature=[spec])
    np.testing.assert_allclose(compiled(tf.constant(ids)), net(ids)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("head", ["ForQuestionAnswering", "ForMultipleChoice"])
def test_separators_are_needed_without_a_global_mask(head):
    net = model(head)
    ids = np.array([[[0, 7, 5, 5, 8, 9], [0, 7, 5, 5, 8, 5]]])
    ids = ids if head == "ForMultipleChoice" else ids[0]
    with pytest.raises(tf.errors.InvalidArgumentError, match="input_ids must have 3 separators"):
        net(ids)
    assert net(ids, global_attention_mask=np.zeros_like(ids))[0].shape[0] == len(ids)


def test_windows_for_other_layers_are_refused():
    with pytest.raises(ValueError, match="one number or 2, one for each layer, but it is .4.$"):
        model(attention_window=[4])


def test_head_mask():
    body = model(num_hidden_layers=1)
    ids, marked = np.full((1, 9), 7), np.eye(1, 9, dtype=int)
    out = body(ids, head_mask=[1.0, 0.0, 1.0], global_attention_mask=marked, output_attentions=True)
    assert not out.attentions[0][:, 1].numpy().any() and out.attentions[0][:, 0].numpy().any()
    assert not out.global_attentions[0][:, 1].numpy().any()


def test_xla_compiles_classification_once():
    net = model("ForSequenceClassification", num_hidden_layers=1)
    compiled = tf.function(lambda ids, mask: net(ids, mask).logits, jit_compile=True)
    rng = np.random.default_rng(0)
    for _ in range(3):
        ids, mask = rng.integers(6, 29, (2, 21)), np.ones((2, 21), int)
        mask[1, rng.integers(1, 20) :] = 0
        ids, mask = tf.constant(ids), tf.constant(mask)
        np.testing.assert_allclose(compiled(ids, mask), net(ids, mask).logits, rtol=0, atol=1e-6)
    # An input that sizes depend on is no parameter of the program: its values are compiled in.
    hlo = compiled.experimental_get_compiler_ir(ids, mask)(stage="hlo")
    assert len(re.findall(r"s64\[2,21\]\S* parameter\(", hlo)) == 2


PEAK = r"""
import re, sys
from pathlib import Path
import numpy as np
import tfhf
from transformers import LongformerConfig

length = int(sys.argv[1])
config = LongformerConfig(
    hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
    vocab_size=100, max_position_embeddings=16500, attention_window=512,
)
model = tfhf.TFLongformerForSequenceClassification(config)


def peak(length):
    assert np.isfinite(model(np.full((1, length), 7)).logits).all()
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


print(-peak(1) + peak(length))
"""


@pytest.mark.slow
def test_memory_grows_with_the_length():
    """Peak memory in MiB above that of one window, each in a process of its own."""
    peaks = {}
    for length in (4096, 16384):
        run = subprocess.run(
            [sys.executable, "-c", PEAK, str(length)], capture_output=True, text=True, cwd=ROOT
        )
        assert run.returncode == 0, run.stderr
        peaks[length] = float(run.stdout)
    assert peaks[16384] < 5 * peaks[4096], peaks
