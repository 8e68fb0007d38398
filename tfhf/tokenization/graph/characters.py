"""Rewriting text character by character inside a TensorFlow graph.

What the `tokenizers` library makes of a character depends on the Unicode versions that it was built
with, and no TensorFlow op follows the same ones. So the library itself is asked, once, about every
character, and the answers become a table.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

NUM_CODE_POINTS = 0x110000
PAGE_BITS = 7
PAGE_SIZE = 1 << PAGE_BITS

# Those of Unicode's 17 that hold more than letters by themselves.
PLANES_WITH_MARKS = (0, 1, 14)

CODE_POINT_BITS = 21

# Surrogates, which no text holds, take the places of characters that are removed only after marks
# are sorted: one for each canonical combining class, that of 0 across which nothing is sorted.
REMOVED = tuple(map(chr, range(0xD800, 0xD900)))

# Another stands for the character itself, so that "漢" -> " 漢 " and "字" -> " 字 " are one row.
ITSELF = "\udfff"


@dataclass(frozen=True)
class CharacterRules:
    """What becomes of each character of a text.

    Attributes:
        rows: the texts that characters become, where `ITSELF` stands for the character itself.
        row_of: int32 [0x110000], the row of each code point.
        mark_order: the canonical combining class of those marks that are sorted by it afterwards,
            within each run of marks (canonical ordering, D109 in The Unicode Standard, 3.11), and
            of what stands for removed ones.

    Example:
        >>> rules = CharacterRules.of({"A": "a-"}).then({"-": " - "})
        >>> rules["A"], rules["-"], rules["b"]
        ('a - ', ' - ', 'b')
    """

    rows: tuple[str, ...]
    row_of: np.ndarray
    mark_order: Mapping[str, int]

    @classmethod
    def of(
        cls, replacements: Mapping[str, str], mark_order: Mapping[str, int] | None = None
    ) -> CharacterRules:
        """Make rules of the new texts of those characters that do not stay as they are."""
        rows = {ITSELF: 0}
        row_of = np.zeros(NUM_CODE_POINTS, np.int32)
        for character, new in replacements.items():
            row_of[ord(character)] = rows.setdefault(new.replace(character, ITSELF), len(rows))
        for mark in mark_order or {}:
            row_of[ord(mark)] = rows.setdefault(mark, len(rows))
        return cls(tuple(rows), row_of, mark_order or {})

    def __getitem__(self, character: str) -> str:
        return self.rows[self.row_of[ord(character)]].replace(ITSELF, character)

    def then(self, replacements: Mapping[str, str]) -> CharacterRules:
        """Replace characters in what these rules lead to."""
        table = str.maketrans(dict(replacements))
        rows = [row.translate(table) for row in self.rows]
        row_of = self.row_of.copy()
        for character in replacements:
            if ITSELF in self.rows[row_of[ord(character)]]:
                row_of[ord(character)] = len(rows)
                rows.append(self[character].translate(table))
        return CharacterRules(tuple(rows), row_of, self.mark_order)


def unicode_pages() -> Iterator[str]:
    """Give all characters of Unicode, in strings of 128."""
    for start in range(0, NUM_CODE_POINTS, PAGE_SIZE):
        if not 0xD800 <= start < 0xE000:  # surrogates are no characters
            yield "".join(map(chr, range(start, start + PAGE_SIZE)))


def pages_with_marks() -> Iterator[str]:
    """Give those of `unicode_pages` that can hold characters which combine with others."""
    for page in unicode_pages():
        kinds = set(map(unicodedata.category, page))
        if ord(page[0]) >> 16 in PLANES_WITH_MARKS and not kinds <= {"Lo", "Co"}:
            yield page


def probe_characters(rewrite: Callable[[str], str]) -> dict[str, str]:
    """Ask a function that rewrites text about every character of Unicode.

    Args:
        rewrite: a function that treats each character by itself, or sorts marks besides.

    Returns:
        The new text of each character that does not stay as it is.

    Example:
        >>> probe_characters(lambda text: text.replace("ß", "ss"))
        {'ß': 'ss'}
    """
    replacements: dict[str, str] = {}
    for page in unicode_pages():
        rewritten = rewrite(page)
        # Most pages stay or go as a whole, which is much faster than to ask 128 times.
        if rewritten == "":
            replacements.update(dict.fromkeys(page, ""))
        elif rewritten != page:
            answers = ((character, rewrite(character)) for character in page)
            replacements.update((old, new) for old, new in answers if old != new)
    return replacements


class CharacterTable(tf.Module):
    """Looks up a number for each character.

    Args:
        numbers: int32 [0x110000], the number of each code point.

    Example:
        >>> numbers = np.zeros(NUM_CODE_POINTS, np.int32)
        >>> numbers[ord("é")] = 7
        >>> CharacterTable(numbers)(tf.constant([ord("e"), ord("é")])).numpy().tolist()
        [0, 7]
    """

    def __init__(self, numbers: np.ndarray) -> None:
        super().__init__()
        pages: dict[bytes, int] = {}
        page_of = [
            pages.setdefault(page.tobytes(), len(pages)) for page in numbers.reshape(-1, PAGE_SIZE)
        ]
        with tf.device("CPU:0"):
            self._page_of = tf.constant(page_of, tf.int32)
            self._numbers = tf.constant(np.frombuffer(b"".join(pages), np.int32))

    def __call__(self, characters: tf.Tensor) -> tf.Tensor:
        """Give the int32 numbers of `characters`, a vector of int32 code points."""
        page = tf.gather(self._page_of, tf.bitwise.right_shift(characters, PAGE_BITS))
        place = tf.bitwise.bitwise_and(characters, PAGE_SIZE - 1)
        return tf.gather(self._numbers, page * PAGE_SIZE + place)


class PairTable(tf.Module):
    """Looks up a number for two characters.

    Args:
        numbers: those of texts of two characters, none negative.

    Example:
        >>> pairs = PairTable({"ab": 7})
        >>> pairs(tf.constant([97, 98]), tf.constant([98, 97])).numpy().tolist()
        [7, -1]
    """

    def __init__(self, numbers: Mapping[str, int]) -> None:
        super().__init__()
        keys = [-1, *(ord(pair[0]) << CODE_POINT_BITS | ord(pair[1]) for pair in numbers)]
        values = [-1, *numbers.values()]  # tables must not be empty
        self._numbers = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(keys, tf.int64), tf.constant(values, tf.int32)
            ),
            default_value=-1,
        )

    def __call__(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        """Give the int32 numbers of pairs, two vectors of int32 code points; -1 where none is."""
        first = tf.bitwise.left_shift(tf.cast(first, tf.int64), CODE_POINT_BITS)
        return self._numbers.lookup(first + tf.cast(second, tf.int64))


class CharacterMap(tf.Module):
    """Applies `CharacterRules` to a vector of strings.

    Example:
        >>> spaced = CharacterMap(CharacterRules.of({"A": "a", "!": " ! "}))
        >>> spaced(tf.constant(["AB!", ""])).numpy().tolist()
        [b'aB ! ', b'']
        >>> spaced.with_source(tf.constant(["AB!"]))[1].to_list()
        [[0, 1, 2, 2, 2]]
    """

    def __init__(self, rules: CharacterRules) -> None:
        super().__init__()
        cells = "".join(rules.rows)
        lengths = np.array([len(row) for row in rules.rows], np.int64)
        self._sorts_marks = bool(rules.mark_order)
        self._row_of = CharacterTable(rules.row_of)
        with tf.device("CPU:0"):
            self._row_starts = tf.constant(np.cumsum(lengths) - lengths)
            self._row_lengths = tf.constant(lengths)
            self._cells = tf.constant([ord(cell) for cell in cells], tf.int32)
            self._mark_order = tf.constant([rules.mark_order.get(cell, 0) for cell in cells])

    def __call__(self, text: tf.Tensor) -> tf.Tensor:
        """Rewrite `text`, a vector of valid UTF-8 strings."""
        return tf.strings.unicode_encode(self.rewrite(text)[0], "UTF-8", errors="ignore")

    def with_source(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.RaggedTensor]:
        """Rewrite `text`, and say where characters come from, as `Rewriter` does."""
        characters, source = self.rewrite(text)
        is_kept = tf.bitwise.right_shift(characters.values, 8) != ord(REMOVED[0]) >> 8
        source = tf.ragged.boolean_mask(
            characters.with_values(source), characters.with_values(is_kept)
        )
        return tf.strings.unicode_encode(characters, "UTF-8", errors="ignore"), source

    def rewrite(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Give the new characters of `text`, and where each comes from.

        Args:
            text: a vector of n valid UTF-8 strings.

        Returns:
            int32 code points [n, (characters)], of which those in `REMOVED` are to be left out,
            and for each of them, int32, the place of its source in its text.
        """
        decoded = tf.strings.unicode_decode(text, "UTF-8")
        characters = decoded.values
        row = self._row_of(characters)
        # Beside each cell of its row, the character itself is needed. One range op gives both, as
        # the halves of an int64.
        starts = tf.bitwise.left_shift(tf.cast(characters, tf.int64), 32)
        starts += tf.gather(self._row_starts, row)
        ranges = tf.ragged.range(starts, starts + tf.gather(self._row_lengths, row))
        character = tf.cast(tf.bitwise.right_shift(ranges.values, 32), tf.int32)
        place = tf.cast(tf.bitwise.bitwise_and(ranges.values, 0xFFFFFFFF), tf.int32)
        cell = tf.gather(self._cells, place)
        rewritten = tf.RaggedTensor.from_row_splits(
            tf.where(cell == ord(ITSELF), character, cell),
            tf.gather(ranges.row_splits, decoded.row_splits),
            validate=False,
        )
        source = ranges.value_rowids()
        if self._sorts_marks:
            order = tf.gather(self._mark_order, place)
            is_unsorted = tf.reduce_any((order[1:] > 0) & (order[:-1] > order[1:]))
            values, source = tf.cond(
                is_unsorted,
                lambda: _sort_marks(rewritten, source, order),
                lambda: (rewritten.values, source),
            )
            rewritten = rewritten.with_values(values)
        source -= tf.gather(decoded.row_starts(), tf.gather(decoded.value_rowids(), source))
        return rewritten, tf.cast(source, tf.int32)


def _sort_marks(
    text: tf.RaggedTensor, source: tf.Tensor, order: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Sort each run of marks (`order` > 0) by `order`; those of one order stay as they are.

    The library takes what is first after sorting for what was first before.
    """
    run = tf.cumsum(tf.cast(order == 0, tf.int64)) + text.value_rowids()
    place = tf.argsort(run * 256 + tf.cast(order, tf.int64), stable=True)
    is_first = (source != tf.roll(source, 1, 0)) | (tf.range(tf.size(source)) == 0)
    rank = tf.cumsum(tf.cast(tf.gather(is_first, place), tf.int32)) - 1
    return tf.gather(text.values, place), tf.gather(tf.boolean_mask(source, is_first), rank)


def character_of_bytes(texts: tf.Tensor) -> tf.Tensor:
    """Number the characters of strings in a row, and give the number for each byte.

    Example:
        >>> character_of_bytes(tf.constant(["aé", "b"])).numpy().tolist()
        [0, 1, 1, 2]
    """
    values = tf.strings.unicode_decode(texts, "ISO-8859-1").values
    begins = tf.bitwise.bitwise_and(values, 0xC0) != 0x80  # all others continue a character
    return tf.cumsum(tf.cast(begins, tf.int32)) - 1
