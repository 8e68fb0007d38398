"""Normal forms C and KC inside a TensorFlow graph (Unicode Standard Annex 15).

TensorFlow Text has an op for them, but one of a later Unicode than the `tokenizers` library, and of
another one in each version of TensorFlow Serving.
"""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf
from tokenizers import normalizers

from tfhf.tokenization.graph.characters import (
    NUM_CODE_POINTS,
    CharacterMap,
    CharacterRules,
    CharacterTable,
    PairTable,
    probe_characters,
)
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError


class Composition(tf.Module):
    """Decomposes characters, sorts marks, and composes what can be composed.

    Args:
        form: `"NFC"` or `"NFKC"`.
        decomposition: the rules of NFD or NFKD.

    Example:
        >>> from tfhf.tokenization.graph.normalization import character_rules
        >>> composition = Composition("NFC", character_rules('{"type": "NFD"}'))
        >>> composition(tf.constant(["e\u0301"])).numpy()[0].decode() == "é"
        True
    """

    def __init__(self, form: str, decomposition: CharacterRules) -> None:
        super().__init__()
        composites = _composites()
        changed = probe_characters(getattr(normalizers, form)().normalize_str)
        order = np.zeros(NUM_CODE_POINTS, np.int32)
        for mark, mark_order in decomposition.mark_order.items():
            order[ord(mark)] = mark_order
        may_change = (order > 0).astype(np.int32)
        may_change[[ord(character) for character in changed]] = 1
        may_change[[ord(pair[1]) for pair in composites]] = 1
        self._decompose = CharacterMap(decomposition)
        self._may_change = CharacterTable(may_change)
        self._order = CharacterTable(order)
        self._composites = PairTable({pair: ord(new) for pair, new in composites.items()})

    def __call__(self, text: tf.Tensor) -> tf.Tensor:
        """Rewrite `text`, a vector of valid UTF-8 strings."""
        characters = tf.strings.unicode_decode(text, "UTF-8").values
        return tf.cond(
            tf.reduce_any(self._may_change(characters) > 0),
            lambda: self.with_source(text)[0],
            lambda: text,
        )

    def with_source(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.RaggedTensor]:
        """Rewrite `text`, and say where characters come from, as `Rewriter` does."""
        decomposed, source = self._decompose.rewrite(text)
        row = decomposed.value_rowids()
        place = tf.range(tf.size(row))
        # The number of old characters that each new one takes the place of.
        taken = (source != tf.roll(source, 1, 0)) | (row != tf.roll(row, 1, 0)) | (place == 0)
        vector = tf.TensorShape([None])
        characters, row, taken, _ = tf.while_loop(
            lambda *state: state[-1],
            self._compose_once,
            (decomposed.values, row, tf.cast(taken, tf.int32), tf.constant(True)),
            (vector, vector, vector, tf.TensorShape([])),
        )
        num_before = tf.cumsum(tf.strings.length(text, "UTF8_CHAR"), exclusive=True)
        source = tf.cumsum(taken, exclusive=True) - tf.cast(taken == 0, tf.int32)
        source -= tf.gather(num_before, row)
        composed = tf.RaggedTensor.from_value_rowids(
            characters, row, decomposed.nrows(), validate=False
        )
        return tf.strings.unicode_encode(composed, "UTF-8"), composed.with_values(source)

    def _compose_once(
        self, characters: tf.Tensor, row: tf.Tensor, taken: tf.Tensor, _: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Compose each starter (what is no mark) with the first character that it can be."""
        size = tf.size(characters)
        place = tf.range(size)
        order = self._order(characters)
        is_starter = order == 0
        number = tf.cumsum(tf.cast(is_starter, tf.int32), exclusive=True)  # of starters before
        starters = tf.concat([[0], tf.boolean_mask(place, is_starter)], axis=0)
        starter = tf.gather(starters, number)  # the last one before each character
        # Marks in between keep a mark away unless they are of a lower order.
        is_near = (starter == place - 1) | (tf.roll(order, 1, 0) < order)
        is_near &= (number > 0) & (tf.gather(row, starter) == row)
        new = self._composites(tf.gather(characters, starter), characters)
        fits = is_near & (new >= 0)
        first = tf.math.unsorted_segment_min(tf.where(fits, place, size), number, size + 1)
        is_taken = fits & (tf.gather(first, number) == place)
        into = tf.boolean_mask(starter, is_taken)[:, None]
        characters = tf.tensor_scatter_nd_update(characters, into, tf.boolean_mask(new, is_taken))
        taken = tf.tensor_scatter_nd_add(taken, into, tf.boolean_mask(taken, is_taken))
        kept = tf.boolean_mask(place, ~is_taken)
        return (
            tf.gather(characters, kept),
            tf.gather(row, kept),
            tf.gather(taken, kept),
            tf.reduce_any(is_taken),
        )


@functools.lru_cache
def _composites() -> dict[str, str]:
    """Ask the library which pairs of characters it composes, and to what."""
    compose, decompose = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str
    composites = {
        compose(decomposed[:-1]) + decomposed[-1]: character
        for character, decomposed in probe_characters(decompose).items()
        if compose(decomposed) == character
    }
    firsts, seconds = {pair[0] for pair in composites}, {pair[-1] for pair in composites}
    if max(map(len, composites)) > 2 or not firsts.isdisjoint(seconds):
        found = "NFC, of a Unicode in which more than two characters may compose at once"
        raise UnsupportedTokenizerError("normalizer", found, "one of an earlier Unicode")
    return composites
