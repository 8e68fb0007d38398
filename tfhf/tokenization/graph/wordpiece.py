"""WordPiece inside a TensorFlow graph (Song et al. 2021, https://arxiv.org/abs/2012.15524).

TensorFlow Text's `FastWordpieceTokenizer` only looks up the pieces of words here: its own
normalization and word splitting differ from the `tokenizers` library on every third odd text.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_text as tf_text

from tfhf.tokenization.graph.characters import CharacterMap, CharacterRules, character_of_bytes
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError

UTF8_MAX_BYTES = 4

# The op ends strings at the first of these and marks nodes of its trie with the second: in a
# vocabulary, they make it answer wrong or crash.
RESERVED = ("\0", "\x11")


class WordPiece(tf.Module):
    """Turns text into the ids of word pieces.

    Args:
        model: the `model` entry of a tokenizer.json.
        rules: character rules that, whatever else they do, put spaces between words.

    Raises:
        UnsupportedTokenizerError: if the vocabulary lacks the unknown token, or has a token that
            the op cannot hold.

    Example:
        >>> model = {
        ...     "vocab": {"[UNK]": 0, "graph": 1, "##s": 2, "!": 3},
        ...     "unk_token": "[UNK]",
        ...     "continuing_subword_prefix": "##",
        ...     "max_input_chars_per_word": 100,
        ... }
        >>> word_piece = WordPiece(model, CharacterRules.of({"!": " ! "}))
        >>> word_piece(tf.constant(["graphs!", "tf"])).to_list()
        [[1, 2, 3], [0]]
    """

    def __init__(self, model: dict[str, Any], rules: CharacterRules) -> None:
        super().__init__()
        vocab, unk_token = model["vocab"], model["unk_token"]
        if unk_token not in vocab:
            raise UnsupportedTokenizerError("vocabulary", f"without {unk_token!r}", "one with it")
        reserved = [c for c in RESERVED if rules[c] != ""]
        if reserved:
            alphabet = set().union(*vocab)
            if not alphabet.isdisjoint(reserved):
                found = f"with a token that holds {' or '.join(map(repr, reserved))}"
                raise UnsupportedTokenizerError("vocabulary", found, "one without")
            unknown = next(c for c in map(chr, range(0x10FFFF, 0, -1)) if c not in alphabet)
            rules = rules.then(dict.fromkeys(reserved, unknown))
        self._part_words = CharacterMap(rules)

        # What no word can be has a name with spaces: ids without a token, and tokens that are empty
        # or hold a character that the rules remove.
        tokens = [f" {token_id} " for token_id in range(max(vocab.values()) + 1)]
        for token, token_id in vocab.items():
            if token and not any(character in token for character in RESERVED):
                tokens[token_id] = token
        self._max_characters = model["max_input_chars_per_word"]
        max_bytes = UTF8_MAX_BYTES * self._max_characters
        self._too_long = "x" * (max_bytes + 1)
        try:
            self._pieces = tf_text.FastWordpieceTokenizer(
                tokens,
                suffix_indicator=model["continuing_subword_prefix"],
                max_bytes_per_word=max_bytes,
                token_out_type=tf.int32,
                unknown_token=unk_token,
                no_pretokenization=True,
            )
        except RuntimeError as error:
            found = f"refused by TensorFlow Text ({error})"
            raise UnsupportedTokenizerError("vocabulary", found, "one it accepts") from error

    def __call__(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Tokenize `text`, a vector of n valid UTF-8 strings, into int32 ids [n, (tokens)]."""
        words = tf.strings.split(self._part_words(text))
        pieces = self._pieces.tokenize(
            tf.where(self._is_too_long(words), self._too_long, words.values)
        )
        return words.with_values(pieces).merge_dims(1, 2)

    def with_spans(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Tokenize `text`, and say where in it tokens stand.

        Returns:
            int32 [n, (tokens), 3]: the id, and the characters where the token starts and ends.
        """
        parted, source = self._part_words.with_source(text)
        words = tf.strings.split(parted)
        is_too_long = self._is_too_long(words)
        pieces, starts, ends = self._pieces.tokenize_with_offsets(
            tf.where(is_too_long, self._too_long, words.values)
        )
        # Bytes of a word -> bytes of all words -> characters of all words -> characters of a text.
        num_bytes = tf.strings.length(words.values)
        first_byte = tf.cumsum(num_bytes, exclusive=True)
        word = pieces.value_rowids()
        ends = tf.where(
            tf.gather(is_too_long, word), tf.gather(num_bytes, word), tf.cast(ends.values, tf.int32)
        )
        first_byte = tf.gather(first_byte, word)
        of_words = tf.strings.unicode_decode(parted, "UTF-8").values != ord(" ")
        source = tf.boolean_mask(source.values, of_words)
        source = tf.gather(source, character_of_bytes(words.values))
        start = tf.gather(source, first_byte + tf.cast(starts.values, tf.int32))
        end = tf.gather(source, first_byte + ends - 1) + 1
        spans = tf.stack([pieces.values, start, end], axis=1)
        return words.with_values(pieces.with_values(spans)).merge_dims(1, 2)

    def _is_too_long(self, words: tf.RaggedTensor) -> tf.Tensor:
        """Say of words whether they have too many characters, where the op limits their bytes."""
        return tf.strings.length(words.values, "UTF8_CHAR") > self._max_characters
