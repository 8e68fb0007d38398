"""Byte-level byte-pair encoding inside a TensorFlow graph: GPT-2, RoBERTa, BART, Llama-3, Qwen.

The characters that pairs are made of are bytes, each written as a visible character (Radford et al.
2019, `bytes_to_unicode` in GPT-2's encoder.py).
"""

from __future__ import annotations

import json
from typing import Any

import tensorflow as tf

from tfhf.tokenization.graph.bpe import BytePairs
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError
from tfhf.tokenization.graph.offsets import add_spans, token_lengths
from tfhf.tokenization.graph.splitting import GPT2, PATTERNS, PatternSplitter

VISIBLE = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), 256)}
HIDDEN = [byte for byte in range(256) if byte not in VISIBLE]

# The character that stands for each byte: itself, or the next one from U+0100 on.
BYTE_CHARACTERS = "".join(
    chr(byte if byte in VISIBLE else 256 + HIDDEN.index(byte)) for byte in range(256)
)

EXPECTED = (
    "ByteLevel, after a Split by the pattern of GPT-2, Llama-3 or Qwen2 or with one of its own"
)


def token_bytes(token: str) -> bytes:
    """Return the bytes that a token stands for; an added token stands for its characters.

    Example:
        >>> token_bytes("Ġcafé"), token_bytes("<e電>")
        (b' caf\\xe9', b'<e\\xe9\\x9b\\xbb>')
    """
    places = [BYTE_CHARACTERS.find(character) for character in token]
    return token.encode() if -1 in places else bytes(places)


class ByteLevel(tf.Module):
    """Turns text into the ids of byte pairs.

    Args:
        model: the `model` entry of a tokenizer.json.
        pre_tokenizer: its `pre_tokenizer` entry.

    Raises:
        UnsupportedTokenizerError: if the pre-tokenizer splits text in another way, or the
            vocabulary lacks a byte.

    Example:
        >>> vocab = {character: byte for byte, character in enumerate(BYTE_CHARACTERS)}
        >>> byte_level = ByteLevel(
        ...     {"vocab": vocab | {"Ġa": 256, "aa": 257}, "merges": [["Ġ", "a"], ["a", "a"]]},
        ...     {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        ... )
        >>> byte_level(tf.constant(["aa aa", "é", ""])).to_list()
        [[257, 256, 97], [195, 169], []]
    """

    def __init__(self, model: dict[str, Any], pre_tokenizer: dict[str, Any]) -> None:
        super().__init__()
        missing = set(BYTE_CHARACTERS) - model["vocab"].keys()
        if missing:
            found = f"without {len(missing)} of the 256 bytes"
            raise UnsupportedTokenizerError("vocabulary", found, "one with all")
        self._split = PatternSplitter(read_pattern(pre_tokenizer))
        self._merge = BytePairs(model)
        with tf.device("CPU:0"):
            self._characters = tf.constant([ord(character) for character in BYTE_CHARACTERS])
            self._num_bytes = tf.constant(token_lengths(model["vocab"], len))

    def __call__(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Tokenize `text`, a vector of n valid UTF-8 strings, into int32 ids [n, (tokens)]."""
        words = self._split(text)
        bytes_ = tf.strings.unicode_decode(words.values, "ISO-8859-1")
        characters = bytes_.with_values(tf.gather(self._characters, bytes_.values))
        return self._merge(words.with_values(tf.strings.unicode_encode(characters, "UTF-8")))

    def with_spans(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Tokenize `text`, and say where in it tokens stand.

        Returns:
            int32 [n, (tokens), 3]: the id, and the characters where the token starts and ends.
        """
        ids = self(text)
        return add_spans(ids, tf.gather(self._num_bytes, ids.values), text)


def read_pattern(spec: dict[str, Any]) -> str:
    """Find the pattern by which a pre-tokenizer splits text before it turns it into bytes.

    Args:
        spec: the `pre_tokenizer` entry of a tokenizer.json.

    Raises:
        UnsupportedTokenizerError: if it does something else as well.
    """
    *splits, byte_level = spec["pretokenizers"] if spec["type"] == "Sequence" else [spec]
    if byte_level["type"] != "ByteLevel":
        raise UnsupportedTokenizerError("pre_tokenizer", spec["type"], EXPECTED)
    if not splits and byte_level["use_regex"]:
        return GPT2
    if len(splits) == 1 and not byte_level["use_regex"] and not byte_level["add_prefix_space"]:
        (split,) = splits
        pattern = split.get("pattern", {}).get("Regex")
        if pattern in PATTERNS and split["behavior"] == "Isolated" and not split["invert"]:
            return pattern
    raise UnsupportedTokenizerError("pre_tokenizer", json.dumps(spec), EXPECTED)
