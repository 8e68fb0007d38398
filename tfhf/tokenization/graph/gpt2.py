"""`TFGPT2Tokenizer`, under the name and with the arguments that it had in Transformers 4."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from transformers import GPT2Tokenizer

from tfhf.tokenization.graph.tokenizer import GraphTokenizer, Texts

# What is decided here, and not by the files of a tokenizer.
OPTIONS = ("max_length", "pad_token_id")


class TFGPT2Tokenizer(tf.Module):
    """A GPT-2 tokenizer inside the TensorFlow graph. `GraphTokenizer` is the general class.

    Args:
        vocab: the ids of tokens.
        merges: pairs of tokens with a space between, those that merge first coming first.
        max_length: the tokens of a row; None for no limit.
        pad_token_id: the id of padding, up to `max_length`. Without either, rows are ragged.

    Example:
        >>> from tfhf.tokenization.graph.byte_level import BYTE_CHARACTERS
        >>> tokens = ["<|endoftext|>", *BYTE_CHARACTERS, "ab"]
        >>> vocab = {token: token_id for token_id, token in enumerate(tokens)}
        >>> tokenizer = TFGPT2Tokenizer(vocab, ["a b"], max_length=4, pad_token_id=0)
        >>> tokenizer(["abc"])["input_ids"].numpy().tolist()
        [[257, 100, 0, 0]]
    """

    def __init__(
        self,
        vocab: Mapping[str, int],
        merges: Sequence[str],
        max_length: int | None = None,
        pad_token_id: int | None = None,
    ) -> None:
        super().__init__()
        # Tuples, for a tf.Module makes lists and dictionaries part of what it saves.
        self._vocab, self._merges = tuple(vocab.items()), tuple(merges)
        self._max_length, self._pad_token_id = max_length, pad_token_id
        self._tokenizer = GPT2Tokenizer(dict(vocab), [tuple(pair.split(" ")) for pair in merges])
        self._graph_tokenizer = GraphTokenizer.from_tokenizer(self._tokenizer, padding=False)

    @classmethod
    def from_tokenizer(cls, tokenizer: GPT2Tokenizer, *args: Any, **kwargs: Any) -> TFGPT2Tokenizer:
        """Make one of a `GPT2Tokenizer` of Transformers.

        Args:
            tokenizer: gives the vocabulary and the merges.
            *args: `max_length` and `pad_token_id`.
            **kwargs: these by name.

        Raises:
            ValueError: if the tokenizer has added tokens, or puts a space before texts.
        """
        spec = json.loads(tokenizer.backend_tokenizer.to_str())
        merges = [" ".join(pair) for pair in spec["model"]["merges"]]
        copy = cls(tokenizer.get_vocab(), merges, *args, **kwargs)
        parts = [
            (backend.get_added_tokens_decoder().keys(), backend.pre_tokenizer.add_prefix_space)
            for backend in (tokenizer.backend_tokenizer, copy._tokenizer.backend_tokenizer)
        ]
        if parts[0] != parts[1]:
            raise ValueError(
                "tokenizer: expected one of vocabulary and merges alone, got added tokens or "
                "add_prefix_space; use GraphTokenizer.from_tokenizer instead"
            )
        return copy

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str, *init_inputs: Any, **kwargs: Any
    ) -> TFGPT2Tokenizer:
        """Make one of the vocabulary in a folder or a repository of the Hub.

        Args:
            pretrained_model_name_or_path: the folder or the name.
            *init_inputs: arguments of `GPT2Tokenizer.from_pretrained`.
            **kwargs: more of them, and `max_length` and `pad_token_id`.

        Raises:
            OSError: if there is no tokenizer.
        """
        options = {name: kwargs.pop(name) for name in OPTIONS if name in kwargs}
        tokenizer = GPT2Tokenizer.from_pretrained(
            pretrained_model_name_or_path, *init_inputs, **kwargs
        )
        return cls.from_tokenizer(tokenizer, **options)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TFGPT2Tokenizer:
        """Make one of what `get_config` gives."""
        return cls(**config)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments of the constructor."""
        return {
            "vocab": dict(self._vocab),
            "merges": list(self._merges),
            "max_length": self._max_length,
            "pad_token_id": self._pad_token_id,
        }

    def call(
        self, x: Texts, max_length: int | None = None
    ) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        """Tokenize a batch of texts.

        Args:
            x: a vector of n strings.
            max_length: in place of the constructor's.

        Returns:
            int32 `attention_mask` and `input_ids` [n, max_length], or ragged.
        """
        if max_length is None:
            max_length = self._max_length
        pads = max_length is not None and self._pad_token_id is not None
        assembler = self._graph_tokenizer.assembler
        assembler = dataclasses.replace(
            assembler,
            settings=dataclasses.replace(assembler.settings, pad_token_id=self._pad_token_id),
            padding="max_length" if pads else False,
            max_length=max_length,
        )
        inputs = assembler(self._graph_tokenizer.tokenize(x))
        return {name: inputs[name] for name in ("attention_mask", "input_ids")}

    __call__ = call
