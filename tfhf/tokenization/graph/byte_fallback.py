"""Byte-pair encoding of whole texts, as SentencePiece does it: Llama-2, Mistral, Gemma.

Spaces are written as "▁" and merged like any other character, and a character that the vocabulary
lacks is written as its bytes.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfhf.tokenization.graph.bpe import BYTE_TOKENS, BytePairs
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError
from tfhf.tokenization.graph.metaspace import SPACE
from tfhf.tokenization.graph.offsets import add_spans, token_lengths

# Gemma's normalizer leaves no space to this.
SPLIT_AT_SPACES = {
    "type": "Split",
    "pattern": {"String": " "},
    "behavior": "MergedWithPrevious",
    "invert": False,
}
METASPACE = {"type": "Metaspace", "replacement": SPACE, "split": False}


class ByteFallback(tf.Module):
    """Turns text into the ids of byte pairs.

    Args:
        model: the `model` entry of a tokenizer.json.
        pre_tokenizer: its `pre_tokenizer` entry. What it puts before the text has to be there.

    Raises:
        UnsupportedTokenizerError: if the pre-tokenizer splits text, or the vocabulary lacks a byte.

    Example:
        >>> vocab = {f"<0x{byte:02X}>": byte for byte in range(256)}
        >>> vocab |= {"▁": 256, "a": 257, "▁a": 258}
        >>> byte_fallback = ByteFallback(
        ...     {"vocab": vocab, "merges": [["▁", "a"]], "byte_fallback": True},
        ...     {"type": "Metaspace", "replacement": "▁", "split": False},
        ... )
        >>> byte_fallback(tf.constant(["a aé", ""])).to_list()
        [[257, 258, 195, 169], []]
    """

    def __init__(self, model: dict[str, Any], pre_tokenizer: dict[str, Any] | None) -> None:
        super().__init__()
        missing = BYTE_TOKENS - model["vocab"].keys()
        if missing:
            found = f"without {len(missing)} of the 256 bytes"
            raise UnsupportedTokenizerError("vocabulary", found, "one with all")
        self._replaces_spaces = False
        if pre_tokenizer is not None and pre_tokenizer != SPLIT_AT_SPACES:
            if not METASPACE.items() <= pre_tokenizer.items():
                expected = "none or a Metaspace that does not split"
                raise UnsupportedTokenizerError("pre_tokenizer", str(pre_tokenizer), expected)
            self._replaces_spaces = True
        self._merge = BytePairs(model)
        with tf.device("CPU:0"):
            self._num_bytes = tf.constant(token_lengths(model["vocab"], _num_bytes))

    def __call__(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Tokenize `text`, a vector of n valid UTF-8 strings, into int32 ids [n, (tokens)]."""
        return self._merge(tf.RaggedTensor.from_uniform_row_length(self._replace_spaces(text), 1))

    def with_spans(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Tokenize `text`, and say where in it tokens stand.

        Returns:
            int32 [n, (tokens), 3]: the id, and the characters where the token starts and ends.
        """
        text = self._replace_spaces(text)
        ids = self._merge(tf.RaggedTensor.from_uniform_row_length(text, 1))
        return add_spans(ids, tf.gather(self._num_bytes, ids.values), text)

    def _replace_spaces(self, text: tf.Tensor) -> tf.Tensor:
        return tf.strings.regex_replace(text, " ", SPACE) if self._replaces_spaces else text


def _num_bytes(token: str) -> int:
    return 1 if token in BYTE_TOKENS else len(token.encode())
