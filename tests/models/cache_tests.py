"""The tests of a decoder's cache: reading on gives what reading all at once gives.

An encoder-decoder's own inputs begin with ``decoder_``; its encoder reads the first time only.
"""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

TOLERANCE = 2e-5
BATCH, LENGTH, PROMPT, ROOM = 3, 7, 4, 10


def text(config: Any) -> np.ndarray:
    """Return ids [BATCH, LENGTH], none of which is padding."""
    low = (getattr(config, "pad_token_id", None) or 0) + 1
    return np.random.default_rng(3).integers(low, config.vocab_size, (BATCH, LENGTH))


def prefix(config: Any) -> str:
    """Return what stands before the names of a decoder's inputs."""
    return "decoder_" if config.is_encoder_decoder else ""


def encoder_states(config: Any) -> dict[str, np.ndarray]:
    """Return what a decoder with cross-attention sees beside its tokens, or what of an encoder."""
    if config.is_encoder_decoder:
        mask = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1]])
        ids = np.random.default_rng(4).integers(3, config.vocab_size, mask.shape)
        return {"input_ids": ids, "attention_mask": mask}
    if not getattr(config, "add_cross_attention", False):
        return {}
    states = np.random.default_rng(4).normal(size=(BATCH, 5, config.hidden_size))
    return {"encoder_hidden_states": states.astype(np.float32)}


def logits_in_place(
    model: Any, ids: np.ndarray, mask: np.ndarray | None, jit_compile: bool
) -> np.ndarray:
    """Return the logits of all tokens: the prompt's at once, then one by one in a static cache.

    The way of ``generate``: left padding is told by a mask of the whole cache, and by positions.
    """
    more, start_name = encoder_states(model.config), prefix(model.config)
    positions = None
    if mask is not None and f"{start_name}position_ids" in model.input_names:
        positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0) + model.first_position

    def inputs(start: int, stop: int, keys: int) -> dict[str, tf.Tensor]:
        named = {f"{start_name}input_ids": ids[:, start:stop]}
        if mask is not None:
            later = np.ones((BATCH, ROOM), mask.dtype)
            named[f"{start_name}attention_mask"] = np.concatenate([mask, later], axis=1)[:, :keys]
        if positions is not None:
            named[f"{start_name}position_ids"] = positions[:, start:stop]
        named |= more
        if start_name and start:
            del named["input_ids"]  # of the encoder, which has said all
        return {name: tf.constant(value) for name, value in named.items()}

    @tf.function(jit_compile=jit_compile)
    def step(inputs: dict[str, tf.Tensor], past: Any, position: tf.Tensor) -> Any:
        output = model(**inputs, past_key_values=past, cache_position=position, use_cache=True)
        return output.logits, output.past_key_values

    first = model(**inputs(0, PROMPT, PROMPT), use_cache=True)
    room = [[0, 0], [0, 0], [0, ROOM - PROMPT], [0, 0]]
    past = tuple(  # what an encoder said has no room for more
        (type(own)(*(tf.pad(part, room) for part in own)), *cross)
        for own, *cross in first.past_key_values
    )
    logits = [first.logits]
    for i in range(PROMPT, LENGTH):
        new, past = step(inputs(i, i + 1, ROOM), past, tf.constant(i))
        logits.append(new)
    return np.concatenate(logits, axis=1)


class CacheTests:
    """For the heads that continue text; `ParityTests` makes the models."""

    def pair(self, head: str, config: Any) -> tuple[Any, Any, Path]:
        """Return PyTorch's model, ours, and the folder between them."""
        raise NotImplementedError

    def expected(self, theirs: Any, ids: np.ndarray, row: slice = slice(None)) -> np.ndarray:
        """Return PyTorch's logits of whole rows, without a cache."""
        import torch

        more = {name: value[row] for name, value in encoder_states(theirs.config).items()}
        named = {f"{prefix(theirs.config)}input_ids": ids, **more}
        output = theirs(**{name: torch.from_numpy(value) for name, value in named.items()})
        return output.logits.detach().numpy()

    def test_cache(self, head: str, config: Any) -> None:
        theirs, ours, _ = self.pair(head, config)
        ids, more = text(config), encoder_states(config)
        name = f"{prefix(config)}input_ids"
        first = ours(**{name: ids[:, :PROMPT]}, use_cache=True, **more)
        past = first.past_key_values
        rest = ours(**{name: ids[:, PROMPT:]}, past_key_values=past, use_cache=True, **more)
        logits = np.concatenate([first.logits, rest.logits], axis=1)
        np.testing.assert_allclose(logits, self.expected(theirs, ids), rtol=0, atol=TOLERANCE)
        assert {layer[0].key.shape[2] for layer in rest.past_key_values} == {LENGTH}
        assert "past_key_values" not in ours(**{name: ids}, use_cache=False, **more)

    def test_cache_in_place(self, head: str, config: Any) -> None:
        self.check_in_place(head, config, jit_compile=False)

    def test_cache_in_place_under_xla(self, head: str, config: Any) -> None:
        self.check_in_place(head, config, jit_compile=True)

    def check_in_place(self, head: str, config: Any, jit_compile: bool) -> None:
        """Compare whole rows, then those that are padded to the left with each of them alone."""
        theirs, ours, _ = self.pair(head, config)
        ids = text(config)
        logits = logits_in_place(ours, ids, None, jit_compile)
        np.testing.assert_allclose(logits, self.expected(theirs, ids), rtol=0, atol=TOLERANCE)
        starts = [0, 2, PROMPT - 1]
        mask = (np.arange(LENGTH) >= np.array(starts)[:, None]).astype(np.int64)
        padded = np.where(mask, ids, getattr(config, "pad_token_id", None) or 0)
        logits = logits_in_place(ours, padded, mask, jit_compile)
        for i, start in enumerate(starts):
            alone = self.expected(theirs, ids[i : i + 1, start:], slice(i, i + 1))
            np.testing.assert_allclose(
                logits[i : i + 1, start:], alone, rtol=0, atol=TOLERANCE, err_msg=f"row {i}"
            )
