"""The `Precompiled` normalizer, which SentencePiece models carry along: NFKC with changes.

It is a list of texts and of what becomes of each, kept in a trie. The `tokenizers` library looks a
grapheme (what a reader takes for one character: a letter and its accents) up as a whole if it is
shorter than 6 bytes, and takes the shortest entry that it begins with *in place of all of it*, so
that accents may get lost. Otherwise it looks up character by character.
"""

from __future__ import annotations

import base64
import functools
import struct
import unicodedata
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tokenizers import normalizers

from tfhf.tokenization.graph.characters import (
    NUM_CODE_POINTS,
    CharacterMap,
    CharacterRules,
    CharacterTable,
    PairTable,
    pages_with_marks,
)
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError

# What is known of a character, as bits.
JOINS_PREVIOUS, JOINS_NEXT, STANDS_ALONE, HAS_ENTRY = 1, 2, 4, 8

SHORT = 6  # bytes; only graphemes below are looked up as a whole


@dataclass(frozen=True)
class PrecompiledRules:
    """What a `Precompiled` normalizer does.

    Attributes:
        characters: the new text of each character that has an entry.
        pairs: what becomes of a letter and an accent that have an entry together only.
        flags: int32 [0x110000], the bits above.
    """

    characters: dict[str, str]
    pairs: dict[str, str]
    flags: np.ndarray


@functools.lru_cache
def precompiled_rules(charsmap: str) -> PrecompiledRules:
    """Find out what a charsmap does.

    Args:
        charsmap: `precompiled_charsmap` of a tokenizer.json, in base 64.

    Raises:
        UnsupportedTokenizerError: if it has entries that a graph cannot reproduce.
    """
    binary = base64.b64decode(charsmap)
    normalize = normalizers.Precompiled(binary).normalize_str
    entries = read_charsmap(binary)
    characters = {text: new for text, new in entries.items() if len(text) == 1}
    pairs = {text: new for text, new in entries.items() if len(text) > 1}
    for text, new in pairs.items():
        if len(text) != 2 or len(new) != 1 or new in characters:
            found = f"with an entry {text!r} -> {new!r}"
            raise UnsupportedTokenizerError("charsmap", found, "characters, and pairs that are one")
    flags = _joining_characters().copy()
    for character, new in characters.items():
        flags[ord(character)] |= HAS_ENTRY
        if normalize(character + "\u0301") != new:
            flags[ord(character)] |= STANDS_ALONE
    return PrecompiledRules(characters, pairs, flags)


def read_charsmap(binary: bytes) -> dict[str, str]:
    """Read those entries of a charsmap that a grapheme can be replaced by.

    It holds the size of a trie, the trie as a double array (Aoe 1989, as the library Darts-clone
    lays it out, one unit of 4 bytes for each node), and the new texts, each ended by a zero.
    """
    (size,) = struct.unpack_from("<I", binary)
    units = np.frombuffer(binary, "<u4", size // 4, 4).astype(np.int64)
    texts = binary[4 + size :]
    labels = np.arange(1, 256)

    def children(unit: int) -> int:
        return (unit >> 10) << ((unit & 1 << 9) >> 6)

    entries = {}
    nodes = [(b"", children(int(units[0])))]
    while nodes:
        prefix, base = nodes.pop()
        places = base ^ labels
        inside = places < len(units)
        found = units[places[inside]] & (1 << 31 | 0xFF) == labels[inside]
        for label in labels[inside][found].tolist():
            key, unit = prefix + bytes([label]), int(units[base ^ label])
            below = base ^ label ^ children(unit)
            if unit & 1 << 8:  # a leaf below, with the place of the new text
                start = int(units[below]) & (1 << 31) - 1
                entries[key.decode()] = texts[start : texts.index(b"\0", start)].decode()
            elif len(key) < SHORT - 1:  # longer keys and those that begin with others go unused
                nodes.append((key, below))
    return entries


@functools.lru_cache
def _joining_characters() -> np.ndarray:
    """Find out, as flags, which characters the library joins to graphemes.

    With a charsmap that has "A" -> "x" only, an "A" loses the marks after it, and one that another
    character joins keeps them.
    """
    root, node, leaf = 1 << 10, 1 << 10 | 1 << 8 | ord("A"), 1 << 31
    units = np.zeros(256, "<u4")
    units[[0, 1 ^ ord("A"), ord("A")]] = root, node, leaf
    charsmap = struct.pack("<I", units.nbytes) + units.tobytes() + b"x\0"
    normalize = normalizers.Precompiled(charsmap).normalize_str

    flags = np.zeros(NUM_CODE_POINTS, np.int32)
    for page in pages_with_marks():
        if page.isascii():
            continue
        answers = normalize("\n".join(f"A{character}A\u0301" for character in page)).split("\n")
        for character, answer in zip(page, answers, strict=True):
            if answer == "xx":
                flags[ord(character)] = JOINS_PREVIOUS
            elif answer.endswith("\u0301"):
                flags[ord(character)] = JOINS_NEXT
            elif unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp"):
                flags[ord(character)] = STANDS_ALONE
    flags[[*range(ord(" ")), 0x7F]] = STANDS_ALONE
    return flags


class Precompiled(tf.Module):
    """Does what a `Precompiled` normalizer does.

    Args:
        charsmap: `precompiled_charsmap` of a tokenizer.json, in base 64.

    Raises:
        UnsupportedTokenizerError: if it has entries that a graph cannot reproduce.
    """

    def __init__(self, charsmap: str) -> None:
        super().__init__()
        rules = precompiled_rules(charsmap)
        self._graphemes = Graphemes(rules)
        self._characters = CharacterMap(CharacterRules.of(rules.characters))

    def __call__(self, text: tf.Tensor) -> tf.Tensor:
        """Rewrite `text`, a vector of valid UTF-8 strings."""
        return self._characters(self._graphemes(text))

    def with_source(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.RaggedTensor]:
        """Rewrite `text`, and say where characters come from, as `Rewriter` does.

        The library counts the characters of an old part and of its new text, one for one. It adds
        those that are left of the old part to the last character before them and so, what is
        removed at the beginning of a text, to none: all that follows seems to come from earlier.
        """
        num_characters = tf.strings.length(text, "UTF8_CHAR")
        row_start = tf.cumsum(num_characters, exclusive=True)
        text, parts = self._graphemes.with_source(text)
        text, new = self._characters.with_source(text)
        # Places in all texts together, from here on.
        row, row_of_part = new.value_rowids(), parts.value_rowids()
        part = new.values + tf.cast(tf.gather(parts.row_starts(), row), tf.int32)
        start = parts.values + tf.gather(row_start, row_of_part)
        size = tf.concat([start[1:], [tf.reduce_sum(num_characters)]], axis=0) - start
        new_size = tf.math.unsorted_segment_sum(tf.ones_like(part), part, tf.size(start))
        place = tf.range(tf.size(part)) - tf.gather(tf.cumsum(new_size, exclusive=True), part)
        is_added = place >= tf.gather(size, part)
        source = tf.gather(start, part) + tf.minimum(place, tf.gather(size, part) - 1)
        # An added character that gets one to count is the new text of that.
        is_removed = (new_size == 0) & (row_of_part == tf.roll(row_of_part, 1, 0))
        before_removed = tf.gather(tf.concat([is_removed[1:], [False]], axis=0), part)
        is_last = place == tf.gather(new_size, part) - 1
        source += tf.cast(is_added & is_last & before_removed, tf.int32)
        source -= tf.gather(row_start, row)
        source -= tf.gather(tf.math.unsorted_segment_min(source, row, new.nrows()), row)
        return text, new.with_values(source)


class Graphemes(tf.Module):
    """Replaces graphemes that have an entry as a whole by a character of which the same becomes.

    Example:
        >>> rules = PrecompiledRules({}, {"e\u0301": "é"}, np.zeros(NUM_CODE_POINTS, np.int32))
        >>> rules.flags[0x301] = JOINS_PREVIOUS
        >>> Graphemes(rules)(tf.constant(["e\u0301e"])).numpy()[0].decode()
        'ée'
    """

    def __init__(self, rules: PrecompiledRules) -> None:
        super().__init__()
        self._flags = CharacterTable(rules.flags)
        self._pairs = PairTable({pair: ord(new) for pair, new in rules.pairs.items()})

    def __call__(self, text: tf.Tensor) -> tf.Tensor:
        """Rewrite `text`, a vector of valid UTF-8 strings."""
        decoded, flags, joined = self._join(text)

        def replace() -> tf.Tensor:
            new, is_kept = self._replace(decoded, flags, joined)
            return tf.strings.unicode_encode(tf.ragged.boolean_mask(new, is_kept), "UTF-8")

        return tf.cond(tf.reduce_any(joined), replace, lambda: text)

    def with_source(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.RaggedTensor]:
        """Rewrite `text`, and give the places where what is replaced by each character starts."""
        new, is_kept = self._replace(*self._join(text))
        place = tf.ragged.range(new.row_lengths())
        return (
            tf.strings.unicode_encode(tf.ragged.boolean_mask(new, is_kept), "UTF-8"),
            tf.cast(tf.ragged.boolean_mask(place, is_kept), tf.int32),
        )

    def _join(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor]:
        """Give the characters, their flags, and whether each belongs to the grapheme before it."""
        decoded = tf.strings.unicode_decode(text, "UTF-8")
        characters = decoded.values
        flags = self._flags(characters)
        previous, before = tf.roll(flags, 1, 0), tf.roll(characters, 1, 0)
        joined = _has(flags, JOINS_PREVIOUS) & ~_has(previous, STANDS_ALONE)
        joined |= _has(previous, JOINS_NEXT) & ~_has(flags, STANDS_ALONE)
        joined |= (before == ord("\r")) & (characters == ord("\n"))
        row = decoded.value_rowids()
        joined &= row == tf.roll(row, 1, 0)
        # The first character of all, which has the last one before it.
        joined &= tf.range(tf.size(characters)) > 0
        return decoded, flags, joined

    def _replace(
        self, decoded: tf.RaggedTensor, flags: tf.Tensor, joined: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Give the new characters, and which of them are kept."""
        characters = decoded.values
        grapheme = tf.cumsum(tf.cast(~joined, tf.int32)) - 1
        sizes = sum(tf.cast(characters >= least, tf.int32) for least in (0, 0x80, 0x800, 0x10000))
        is_short = tf.math.segment_sum(sizes, grapheme) < SHORT
        begins = ~joined & tf.roll(joined, -1, 0) & tf.gather(is_short, grapheme)
        pair = self._pairs(characters, tf.roll(characters, -1, 0))
        pair = tf.where(begins & ~_has(flags, HAS_ENTRY), pair, -1)
        replaced = (begins & _has(flags, HAS_ENTRY)) | (pair >= 0)
        dropped = joined & tf.gather(
            tf.math.segment_max(tf.cast(replaced, tf.int32), grapheme) > 0, grapheme
        )
        new = decoded.with_values(tf.where(pair >= 0, pair, characters))
        return new, decoded.with_values(~dropped)


def _has(flags: tf.Tensor, flag: int) -> tf.Tensor:
    return tf.bitwise.bitwise_and(flags, flag) > 0
