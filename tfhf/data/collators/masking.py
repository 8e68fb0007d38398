"""Collators that make the labels of language modelling."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from transformers import PreTrainedTokenizerBase

from tfhf.data.collators.padding import Collator
from tfhf.data.padding import pad_features, pad_rows

IGNORED = -100
"""The label of a position that the loss leaves out."""


@dataclass
class DataCollatorForLanguageModeling(Collator):
    """Pads rows and makes the labels of masked or causal language modelling.

    Masked: every token that is not special is chosen with probability ``mlm_probability``; its id
    becomes its label, and in the input it is replaced by the mask token, by a random token or not
    at all (BERT, https://arxiv.org/abs/1810.04805, section 3.1). All other labels are -100.
    Causal: the labels are the input, with -100 for padding tokens; the model shifts them.

    Attributes:
        tokenizer: A tokenizer of Transformers, loaded by tfhf or not.
        mlm: Masked (``True``) or causal.
        mlm_probability: The share of tokens to predict.
        mask_replace_prob: The share of those that the mask token replaces.
        random_replace_prob: The share of those that a random token replaces.
        pad_to_multiple_of: Lengths are rounded up to a multiple of this.
        return_tensors: ``"tf"`` or ``"np"``.
        seed: Starts a random generator of this collator's own. Without it, the masks follow NumPy's
            global state, which ``keras.utils.set_random_seed`` sets. Leave it out with
            ``to_tf_dataset(num_workers=...)``: its processes would all draw the same masks.

    A column ``special_tokens_mask`` says which tokens are never chosen; without it, those are
    ``tokenizer.all_special_ids``.

    Example:
        >>> from transformers import BertTokenizer
        >>> vocab = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "a": 5, "b": 6}
        >>> collator = DataCollatorForLanguageModeling(
        ...     BertTokenizer(vocab=vocab), mlm_probability=1.0, mask_replace_prob=1.0,
        ...     random_replace_prob=0.0,
        ... )
        >>> batch = collator([{"input_ids": [2, 5, 6, 3]}, {"input_ids": [2, 5, 3]}])
        >>> batch["input_ids"].numpy().tolist()
        [[2, 4, 4, 3], [2, 4, 3, 0]]
        >>> batch["labels"].numpy().tolist()
        [[-100, 5, 6, -100], [-100, 5, -100, -100]]

    """

    tokenizer: PreTrainedTokenizerBase
    mlm: bool = True
    mlm_probability: float = 0.15
    mask_replace_prob: float = 0.8
    random_replace_prob: float = 0.1
    pad_to_multiple_of: int | None = None
    return_tensors: str = "tf"
    seed: int | None = None

    extra_columns: ClassVar[tuple[str, ...]] = ("special_tokens_mask",)
    """Columns that are of use here and not to the model."""

    def __post_init__(self) -> None:
        for name in ("mlm_probability", "mask_replace_prob", "random_replace_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected 0 to 1, got {getattr(self, name)}")
        if self.mask_replace_prob + self.random_replace_prob > 1:
            raise ValueError(
                "mask_replace_prob + random_replace_prob: expected at most 1, got "
                f"{self.mask_replace_prob} + {self.random_replace_prob}"
            )
        if self.mlm:
            _check_mask_token(self.tokenizer)
        self._random = None if self.seed is None else np.random.default_rng(self.seed)

    def collate(self, features: Sequence[Any]) -> dict[str, np.ndarray]:
        """Make the batch as arrays; ``features`` may also be bare lists of token ids."""
        batch = _pad_ids(self.tokenizer, features, self.pad_to_multiple_of)
        special = _special_tokens(self.tokenizer, batch)
        ids = batch["input_ids"]
        if self.mlm:
            random = _generator(self._random)
            chosen = (random.random(ids.shape) < self.mlm_probability) & ~special
            batch["input_ids"], batch["labels"] = self._replace(ids, chosen, random)
        else:
            batch["labels"] = np.where(ids == self.tokenizer.pad_token_id, IGNORED, ids)
        return batch

    def _replace(
        self, ids: np.ndarray, chosen: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give the inputs, in which chosen tokens are replaced, and the labels."""
        draw = random.random(ids.shape)
        masked = chosen & (draw < self.mask_replace_prob)
        randomized = chosen & ~masked & (draw < self.mask_replace_prob + self.random_replace_prob)
        inputs = np.where(masked, self.tokenizer.mask_token_id, ids)
        inputs[randomized] = random.integers(len(self.tokenizer), size=randomized.sum())
        return inputs, np.where(chosen, ids, IGNORED)


@dataclass
class DataCollatorForWholeWordMask(DataCollatorForLanguageModeling):
    """Masks whole words: all tokens of a word are predicted, or none.

    Words are taken in random order until ``mlm_probability`` of the row's tokens (at least one) is
    reached, leaving out words that would go beyond. Attributes are those of
    ``DataCollatorForLanguageModeling``.

    What a word is, is read from the column ``word_ids`` (``None`` or -1 for special tokens), or
    ``offset_mapping`` (a token that starts where the last one ended continues its word), or from
    the vocabulary: pieces that start with ``##`` continue a word, as in BERT's.
    """

    extra_columns: ClassVar[tuple[str, ...]] = ("special_tokens_mask", "word_ids", "offset_mapping")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.mlm:
            raise ValueError("mlm: whole words can only be masked with mlm=True")

    def collate(self, features: Sequence[Any]) -> dict[str, np.ndarray]:
        """Make the batch as arrays; ``features`` may also be bare lists of token ids."""
        rows, hints = _take_word_hints(features)
        batch = _pad_ids(self.tokenizer, rows, self.pad_to_multiple_of)
        special = _special_tokens(self.tokenizer, batch)
        ids = batch["input_ids"]
        words = _words(self._continues(ids, hints), special)
        lengths = [len(row["input_ids"] if isinstance(row, Mapping) else row) for row in rows]
        budget = np.maximum(1, np.round(np.array(lengths) * self.mlm_probability))
        random = _generator(self._random)
        chosen = _choose_words(words, budget, random)
        batch["input_ids"], batch["labels"] = self._replace(ids, chosen, random)
        return batch

    def _continues(self, ids: np.ndarray, hints: dict[str, list[Any]]) -> np.ndarray:
        """Tell which tokens belong to the word of the token before them."""
        width, side = ids.shape[1], self.tokenizer.padding_side
        continues = np.zeros(ids.shape, bool)
        if "word_ids" in hints:
            rows = [[-1 if word is None else word for word in row] for row in hints["word_ids"]]
            words = pad_rows("word_ids", rows, width, -1, side)
            continues[:, 1:] = words[:, 1:] == words[:, :-1]
        elif "offset_mapping" in hints:
            offsets = pad_rows("offset_mapping", hints["offset_mapping"], width, 0, side)
            continues[:, 1:] = offsets[:, 1:, 0] == offsets[:, :-1, 1]
        else:
            continues = self._continuation_pieces[ids]
        return continues

    @functools.cached_property
    def _continuation_pieces(self) -> np.ndarray:
        """Whether each id of the vocabulary continues a word."""
        tokens = self.tokenizer.convert_ids_to_tokens(list(range(len(self.tokenizer))))
        pieces = np.array([str(token).startswith("##") for token in tokens])
        if not pieces.any():
            raise ValueError(
                "tokenizer: no piece of its vocabulary starts with '##', so words are unknown: "
                "tokenize with return_offsets_mapping=True and keep the column offset_mapping"
            )
        return pieces


@dataclass
class DataCollatorForPermutationLanguageModeling(Collator):
    """Makes the inputs of XLNet: spans to predict, and a random order to predict them in.

    Gives ``input_ids`` and ``labels`` of ``[batch, length]``, ``perm_mask`` and ``target_mapping``
    of ``[batch, length, length]``, float32; ``perm_mask[b, i, j]`` is 1 where token i must not see
    token j. The length has to be even. See https://arxiv.org/abs/1906.08237, section 2.

    Attributes:
        tokenizer: A tokenizer of Transformers, loaded by tfhf or not.
        plm_probability: The share of tokens to predict.
        max_span_length: The longest span of tokens to predict.
        return_tensors: ``"tf"`` or ``"np"``.

    """

    tokenizer: PreTrainedTokenizerBase
    plm_probability: float = 1 / 6
    max_span_length: int = 5
    return_tensors: str = "tf"

    def __post_init__(self) -> None:
        _check_mask_token(self.tokenizer)
        if not 0 < self.plm_probability <= 1:
            raise ValueError(f"plm_probability: expected 0 to 1, got {self.plm_probability}")

    def collate(self, features: Sequence[Any]) -> dict[str, np.ndarray]:
        """Make the batch as arrays; ``features`` may also be bare lists of token ids."""
        rows = [row["input_ids"] if isinstance(row, Mapping) else row for row in features]
        batch = _pad_ids(self.tokenizer, rows, None)
        ids, special = batch["input_ids"], _special_tokens(self.tokenizer, batch)
        count, width = ids.shape
        if width % 2:
            raise ValueError(f"features: the padded length must be even, got {width}")
        random = _generator(None)
        chosen = self._choose_spans(count, width, random) & ~special

        # One random order for the first half of the row and the same for the second half, which
        # may be reused as memory: no token of the first half is predicted from the second.
        half = random.random((count, width // 2)).argsort()
        order = np.concatenate([half, half + width // 2], axis=1)
        order[~chosen & ~special] = -1  # plain tokens are seen by all
        hidden = (order[:, :, None] <= order[:, None, :]) & chosen[:, None, :]
        return {
            "input_ids": np.where(chosen, self.tokenizer.mask_token_id, ids),
            "perm_mask": hidden.astype(np.float32),
            "target_mapping": np.tile(np.eye(width, dtype=np.float32), (count, 1, 1)),
            "labels": np.where(chosen, ids, IGNORED),
        }

    def _choose_spans(self, count: int, width: int, random: np.random.Generator) -> np.ndarray:
        """Choose spans, each anywhere in a stretch that is ``1 / plm_probability`` as long."""
        chosen = np.zeros((count, width), bool)
        position = np.arange(width)
        begin = np.zeros((count, 1), np.int64)
        while (begin < width).any():
            span = random.integers(1, self.max_span_length + 1, size=begin.shape)
            stretch = (span / self.plm_probability).astype(np.int64)
            start = begin + random.integers(stretch - span + 1)
            chosen |= (position >= start) & (position < start + span)
            begin += stretch
        return chosen


def _check_mask_token(tokenizer: Any) -> None:
    if tokenizer.mask_token is None:
        raise ValueError(
            f"tokenizer: {type(tokenizer).__name__} has no mask token, which masked language "
            "modelling needs; for causal language modelling pass mlm=False"
        )


def _generator(own: np.random.Generator | None) -> np.random.Generator:
    return own or np.random.default_rng(np.random.randint(2**32, size=4, dtype=np.uint32))


def _pad_ids(
    tokenizer: Any, features: Sequence[Any], pad_to_multiple_of: int | None
) -> dict[str, np.ndarray]:
    """Pad mappings, or bare rows of ids, which get no attention mask."""
    if isinstance(features[0], Mapping):
        rows = [{name: row[name] for name in row if name != "labels"} for row in features]
        return pad_features(tokenizer, rows, pad_to_multiple_of=pad_to_multiple_of)
    rows = [{"input_ids": row} for row in features]
    padded = pad_features(tokenizer, rows, pad_to_multiple_of=pad_to_multiple_of)
    return {"input_ids": padded["input_ids"]}


def _special_tokens(tokenizer: Any, batch: dict[str, np.ndarray]) -> np.ndarray:
    """Take the mask of tokens that are never predicted out of the batch, or make it."""
    if "special_tokens_mask" in batch:
        return batch.pop("special_tokens_mask").astype(bool)
    return np.isin(batch["input_ids"], tokenizer.all_special_ids)


def _take_word_hints(features: Sequence[Any]) -> tuple[Sequence[Any], dict[str, list[Any]]]:
    """Separate the columns that say where words begin from the rows."""
    if not isinstance(features[0], Mapping):
        return features, {}
    names = ("word_ids", "offset_mapping")
    hints = {name: [row[name] for row in features] for name in names if name in features[0]}
    return [{name: row[name] for name in row if name not in names} for row in features], hints


def _words(continues: np.ndarray, special: np.ndarray) -> np.ndarray:
    """Number the words of each row from 0; -1 for special tokens."""
    after_special = np.ones(special.shape, bool)
    after_special[:, 1:] = special[:, :-1]
    begins = ~special & (~continues | after_special)
    return np.where(special, -1, begins.cumsum(axis=1) - 1)


def _choose_words(words: np.ndarray, budget: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Choose words in random order, as many as fit into each row's budget of tokens."""
    count, most = len(words), int(words.max()) + 1
    row = np.arange(count)
    sizes = np.zeros((count, most), np.int64)
    inside = words >= 0
    np.add.at(sizes, (np.nonzero(inside)[0], words[inside]), 1)
    order = random.random(sizes.shape).argsort()
    taken = np.zeros(sizes.shape, bool)
    for word in order.T:
        size = sizes[row, word]
        fits = (size > 0) & (size <= budget)
        taken[row, word] = fits
        budget = budget - size * fits
        if not budget.any():
            break
    chosen = np.zeros(words.shape, bool)
    chosen[inside] = taken[np.nonzero(inside)[0], words[inside]]
    return chosen
