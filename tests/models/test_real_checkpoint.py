"""The real all-MiniLM-L6-v2 on real sentences: the same numbers as PyTorch."""

import json

import numpy as np
import pytest

import tfhf
from tfhf.checkpoints.reader import open_checkpoint


@pytest.fixture(scope="module")
def sentences(movie_reviews):
    lines = (movie_reviews / "test.jsonl").read_text().splitlines()
    return [json.loads(line)["text"] for line in lines[:16]]


@pytest.mark.oracle
@pytest.mark.parametrize("side", ["right", "left"])
def test_equals_pytorch(minilm_folder, sentences, side):
    import torch
    from transformers import AutoModel

    theirs = AutoModel.from_pretrained(minilm_folder, attn_implementation="eager").eval()
    ours = tfhf.TFAutoModel.from_pretrained(minilm_folder)
    tokenizer = tfhf.AutoTokenizer.from_pretrained(minilm_folder, padding_side=side)
    tokens = tokenizer(sentences, padding=True, return_tensors="np")
    flags = {"output_attentions": True, "output_hidden_states": True}
    with torch.no_grad():
        expected = theirs(**{k: torch.from_numpy(v) for k, v in tokens.items()}, **flags)
    got = ours(**tokens, **flags)
    # States of padding are noise that nothing reads: in float32 PyTorch itself is up to 8e-5 from
    # its own float64 there, and 2.4e-6 at the tokens.
    real = tokens["attention_mask"].astype(bool)
    assert not real.all()
    if side == "right":  # else the pooler reads padding
        np.testing.assert_allclose(got.pooler_output, expected.pooler_output, rtol=0, atol=1e-5)
    for name in ("last_hidden_state", "hidden_states", "attentions"):
        for i, (a, b) in enumerate(zip(_tuple(got[name]), _tuple(expected[name]), strict=True)):
            a, b = a.numpy(), b.numpy()
            if name == "attentions":  # [batch, heads, query, key]: by query
                a, b = np.moveaxis(a, 1, 2), np.moveaxis(b, 1, 2)
            np.testing.assert_allclose(a[real], b[real], rtol=0, atol=1e-5, err_msg=f"{name}[{i}]")


def _tuple(value):
    return value if isinstance(value, tuple) else (value,)


def test_saves_what_it_loaded(minilm_folder, tmp_path):
    model, info = tfhf.TFBertModel.from_pretrained(minilm_folder, output_loading_info=True)
    assert not any(info.values())
    model.save_pretrained(tmp_path)
    before = open_checkpoint(minilm_folder / "model.safetensors")
    after = open_checkpoint(tmp_path / "model.safetensors")
    assert set(before) - set(after) <= {"embeddings.position_ids"}
    for name in after:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def test_neighbours_in_meaning(minilm_folder):
    """What the checkpoint was trained for: mean vectors of like sentences point the same way."""
    tokenizer = tfhf.AutoTokenizer.from_pretrained(minilm_folder)
    model = tfhf.TFAutoModel.from_pretrained(minilm_folder)
    tokens = tokenizer(
        ["A man eats food.", "Someone is having a meal.", "The sky is full of stars."],
        padding=True,
        return_tensors="tf",
    )
    states = model(tokens).last_hidden_state.numpy()
    mask = tokens["attention_mask"].numpy()[..., None]
    vectors = (states * mask).sum(1) / mask.sum(1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert vectors[0] @ vectors[1] > 0.5 > 0.2 > vectors[0] @ vectors[2]
