"""What a tokenizer says about itself, wherever it says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerBase

Side = Literal["left", "right"]
Truncation = Literal["longest_first", "only_first", "only_second"]

INPUT_NAMES = ("input_ids", "token_type_ids", "attention_mask")

# Beyond this, Transformers takes `model_max_length` for "no limit".
LARGEST_MAX_LENGTH = 10**20

CLEANS_BYTE_PAIRS = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"


def token_names(backend: Tokenizer) -> list[str | None]:
    """Return what the token of each id is called; ``None``: no token has this id.

    Example:
        >>> from tokenizers import models
        >>> token_names(Tokenizer(models.WordPiece({"[UNK]": 0, "graph": 2})))
        ['[UNK]', None, 'graph']
    """
    size = max(backend.get_vocab(with_added_tokens=True).values()) + 1
    return [backend.id_to_token(index) for index in range(size)]


@dataclass(frozen=True)
class TokenizerSettings:
    """The settings of a tokenizer that matter once it has split a text into tokens.

    Attributes:
        input_names: which of `input_ids`, `token_type_ids` and `attention_mask` the model takes.
        max_length: the most tokens that the model takes, if there is a limit.
        truncation: which text of a pair gives way.
        truncation_side: where a row that is too long loses tokens.
        padding_side: where a row gets padding.
        pad_token_id: the `input_ids` of padding, if there is a padding token.
        pad_token_type_id: the `token_type_ids` of padding.
        split_special_tokens: whether special tokens in a text are text like any other.
        clean_up_spaces: whether decoding takes spaces before punctuation away.
    """

    input_names: tuple[str, ...]
    max_length: int | None
    truncation: Truncation
    truncation_side: Side
    padding_side: Side
    pad_token_id: int | None
    pad_token_type_id: int
    split_special_tokens: bool
    clean_up_spaces: bool

    @classmethod
    def of_transformers(cls, tokenizer: PreTrainedTokenizerBase) -> TokenizerSettings:
        """Read the settings of a tokenizer of Transformers."""
        max_length = tokenizer.model_max_length
        # Byte pairs keep their spaces, which the cleaning would take from between words.
        backend = getattr(tokenizer, "backend_tokenizer", None)
        keeps_spaces = backend is not None and isinstance(backend.model, BPE)
        keeps_spaces &= not getattr(tokenizer, CLEANS_BYTE_PAIRS, False)
        return cls(
            input_names=tuple(name for name in INPUT_NAMES if name in tokenizer.model_input_names),
            max_length=max_length if max_length <= LARGEST_MAX_LENGTH else None,
            truncation="longest_first",
            truncation_side=tokenizer.truncation_side,
            padding_side=tokenizer.padding_side,
            pad_token_id=tokenizer.pad_token_id,
            pad_token_type_id=tokenizer.pad_token_type_id,
            split_special_tokens=tokenizer.split_special_tokens,
            clean_up_spaces=tokenizer.clean_up_tokenization_spaces and not keeps_spaces,
        )

    @classmethod
    def of_tokenizers(cls, tokenizer: Tokenizer) -> TokenizerSettings:
        """Read the settings of a tokenizer of the `tokenizers` library."""
        truncation = tokenizer.truncation or {"max_length": None, "direction": "right"}
        padding = tokenizer.padding or {
            "direction": "right",
            "pad_id": tokenizer.token_to_id("[PAD]"),
            "pad_type_id": 0,
        }
        return cls(
            input_names=INPUT_NAMES,
            max_length=truncation["max_length"],
            truncation=truncation.get("strategy", "longest_first"),
            truncation_side=truncation["direction"],
            padding_side=padding["direction"],
            pad_token_id=padding["pad_id"],
            pad_token_type_id=padding["pad_type_id"],
            split_special_tokens=tokenizer.encode_special_tokens,
            clean_up_spaces=False,
        )
