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

# Two surrogates, which no text holds. The first takes the place of a character that is removed
# although marks are not sorted across it; it is left out when the text is encoded again. The second
# stands for the character itself, so that "漢" -> " 漢 " and "字" -> " 字 " are one row of a table.
REMOVED_STARTER = "\ud800"
ITSELF = "\ud801"


@dataclass(frozen=True)
class CharacterRules:
    """What becomes of each character of a text.

    Attributes:
        rows: the texts that characters become, where `ITSELF` stands for the character itself.
        row_of: int32 [0x110000], the row of each code point.
        mark_order: the canonical combining class of those marks that are sorted by it afterwards,
            within each run of marks (canonical ordering, D109 in The Unicode Standard, 3.11).

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


class CharacterMap(tf.Module):
    """Applies `CharacterRules` to a vector of strings.

    Example:
        >>> spaced = CharacterMap(CharacterRules.of({"A": "a", "!": " ! "}))
        >>> spaced(tf.constant(["AB!", ""])).numpy().tolist()
        [b'aB ! ', b'']
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

    def rewrite(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Give the new characters of `text`, and where each comes from.

        Args:
            text: a vector of n valid UTF-8 strings.

        Returns:
            int32 code points [n, (characters)], and for each of them the place in its text of the
            character that it was made of. Those that are `REMOVED_STARTER` are to be left out.
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
        if self._sorts_marks:
            order = tf.gather(self._mark_order, place)
            rewritten = tf.cond(
                tf.reduce_any(order > 0), lambda: _sort_marks(rewritten, order), lambda: rewritten
            )
        source = ranges.value_rowids()
        source -= tf.gather(decoded.row_starts(), tf.gather(decoded.value_rowids(), source))
        return rewritten, source


def _sort_marks(text: tf.RaggedTensor, order: tf.Tensor) -> tf.RaggedTensor:
    """Sort each run of marks (`order` > 0) by `order`; those of one order stay as they are."""
    run = tf.cumsum(tf.cast(order == 0, tf.int64)) + text.value_rowids()
    key = run * 256 + tf.cast(order, tf.int64)
    return text.with_values(tf.gather(text.values, tf.argsort(key, stable=True)))


def character_of_bytes(texts: tf.Tensor) -> tf.Tensor:
    """Number the characters of strings in a row, and give the number for each byte.

    Example:
        >>> character_of_bytes(tf.constant(["aé", "b"])).numpy().tolist()
        [0, 1, 1, 2]
    """
    values = tf.strings.unicode_decode(texts, "ISO-8859-1").values
    begins = tf.bitwise.bitwise_and(values, 0xC0) != 0x80  # all others continue a character
    return tf.cumsum(tf.cast(begins, tf.int32)) - 1
