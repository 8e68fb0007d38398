"""`TFBertTokenizer`, under the name and with the arguments that it had in Transformers 4."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from transformers import BertTokenizer

from tfhf.tokenization.graph.assembly import Padding
from tfhf.tokenization.graph.tokenizer import GraphTokenizer, Texts

# What a `BertTokenizer` is made of beside its vocabulary.
SETTINGS = [
    *["do_lower_case", "strip_accents", "tokenize_chinese_chars", "split_special_tokens"],
    *["cls_token_id", "sep_token_id", "pad_token_id", "unk_token", "mask_token"],
    *["added_tokens_decoder", "padding_side", "truncation_side"],
]

# What is decided here, and not by the files of a tokenizer.
OPTIONS = [
    *["padding", "truncation", "max_length", "pad_to_multiple_of"],
    *["return_token_type_ids", "return_attention_mask", "use_fast_bert_tokenizer"],
]


class TFBertTokenizer(tf.Module):
    """A BERT tokenizer inside the TensorFlow graph. `GraphTokenizer` is the general class.

    Args:
        vocab_list: the tokens in the order of their ids.
        do_lower_case: whether to lowercase and, unless `strip_accents` says otherwise, to strip
            accents.
        cls_token_id: the id of the token before a text; by default that of `[CLS]`.
        sep_token_id: the id of the token after each text; by default that of `[SEP]`.
        pad_token_id: the id of padding; by default that of `[PAD]`.
        padding: to the longest row of a batch, to `max_length`, or none.
        truncation: whether to cut rows down to `max_length`.
        max_length: the tokens of a row, special ones included.
        pad_to_multiple_of: if given, what the length of padded rows is a multiple of.
        return_token_type_ids: whether to return `token_type_ids`.
        return_attention_mask: whether to return `attention_mask`.
        use_fast_bert_tokenizer: of no effect: there is one way now, which gives the same ids as
            Transformers' `BertTokenizer`.
        **tokenizer_kwargs: more arguments of that class.

    Example:
        >>> tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "graph", "##s"]
        >>> tokenizer = TFBertTokenizer(tokens, do_lower_case=True)
        >>> tokenizer(["Graphs"])["input_ids"].numpy().tolist()
        [[2, 5, 6, 3]]
    """

    def __init__(
        self,
        vocab_list: Sequence[str],
        do_lower_case: bool,
        cls_token_id: int | None = None,
        sep_token_id: int | None = None,
        pad_token_id: int | None = None,
        padding: Padding = "longest",
        truncation: bool = True,
        max_length: int | None = 512,
        pad_to_multiple_of: int | None = None,
        return_token_type_ids: bool = True,
        return_attention_mask: bool = True,
        use_fast_bert_tokenizer: bool = True,
        **tokenizer_kwargs: Any,
    ) -> None:
        super().__init__()
        ids = {"cls_token": cls_token_id, "sep_token": sep_token_id, "pad_token": pad_token_id}
        for name, token_id in ids.items():
            if token_id is not None:
                tokenizer_kwargs[name] = vocab_list[token_id]
        self._vocab_list = tuple(vocab_list)
        self._tokenizer = BertTokenizer(
            {token: token_id for token_id, token in enumerate(vocab_list)},
            do_lower_case=do_lower_case,
            **tokenizer_kwargs,
        )
        self._graph_tokenizer = GraphTokenizer.from_tokenizer(
            self._tokenizer,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            pad_to_multiple_of=pad_to_multiple_of,
        )
        self._return_token_type_ids = return_token_type_ids
        self._return_attention_mask = return_attention_mask

    @classmethod
    def from_tokenizer(cls, tokenizer: BertTokenizer, **kwargs: Any) -> TFBertTokenizer:
        """Make one of a `BertTokenizer` of Transformers.

        Args:
            tokenizer: gives the vocabulary and everything that is not in `kwargs`.
            **kwargs: `padding` and other arguments of the constructor.

        Raises:
            ValueError: if an added token has an id among those of the vocabulary.
        """
        tokens = {
            token_id: token
            for token, token_id in tokenizer.backend_tokenizer.get_vocab(False).items()
        }
        # An id that is no token's gets a name with spaces, which no text can spell.
        vocab_list = [tokens.get(place, f"[no {place}]") for place in range(max(tokens) + 1)]
        settings = {name: getattr(tokenizer, name) for name in SETTINGS}
        copy = cls(vocab_list, **(settings | kwargs))
        if not tokenizer.get_vocab().items() <= copy._tokenizer.get_vocab().items():
            raise ValueError(
                "tokenizer: expected added tokens to come after all others, as vocab_list needs; "
                "use GraphTokenizer.from_tokenizer instead"
            )
        return copy

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str, **kwargs: Any) -> TFBertTokenizer:
        """Make one of the vocabulary in a folder or a repository of the Hub.

        Args:
            pretrained_model_name_or_path: the folder or the name.
            **kwargs: arguments of the constructor; others go to `BertTokenizer.from_pretrained`.

        Raises:
            OSError: if there is no tokenizer.
        """
        options = {name: kwargs.pop(name) for name in OPTIONS if name in kwargs}
        tokenizer = BertTokenizer.from_pretrained(pretrained_model_name_or_path, **kwargs)
        return cls.from_tokenizer(tokenizer, **options)

    def call(
        self,
        text: Texts,
        text_pair: Texts | None = None,
        padding: Padding | None = None,
        truncation: bool | None = None,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
    ) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        """Tokenize a batch of texts, or of pairs.

        Args:
            text: a vector of n strings.
            text_pair: n more, to be the second texts of pairs.
            padding: in place of the constructor's, as are those that follow.
            truncation: whether to cut rows down to `max_length`.
            max_length: the tokens of a row.
            pad_to_multiple_of: what the length of padded rows is a multiple of.
            return_token_type_ids: whether to return `token_type_ids`.
            return_attention_mask: whether to return `attention_mask`.

        Returns:
            int32 tensors [n, tokens], by name.
        """
        options: dict[str, Any] = {
            "padding": padding,
            "truncation": truncation,
            "max_length": max_length,
            "pad_to_multiple_of": pad_to_multiple_of,
        }
        options = {name: value for name, value in options.items() if value is not None}
        if options:
            assembler = dataclasses.replace(self._graph_tokenizer.assembler, **options)
            inputs = assembler(self._graph_tokenizer.tokenize(text, text_pair))
        else:
            inputs = self._graph_tokenizer(text, text_pair)
        if return_token_type_ids is None:
            return_token_type_ids = self._return_token_type_ids
        if return_attention_mask is None:
            return_attention_mask = self._return_attention_mask
        if not return_token_type_ids:
            inputs.pop("token_type_ids")
        if not return_attention_mask:
            inputs.pop("attention_mask")
        return inputs

    __call__ = call

    def get_config(self) -> dict[str, Any]:
        """Give the arguments of the constructor that make up the vocabulary."""
        return {
            "vocab_list": self._vocab_list,
            **{name: getattr(self._tokenizer, name) for name in SETTINGS},
        }
