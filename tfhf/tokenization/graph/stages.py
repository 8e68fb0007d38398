"""The parts of a tokenizer.json, compiled: what text goes through on its way to ids."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from tfhf.tokenization.graph.byte_fallback import ByteFallback
from tfhf.tokenization.graph.byte_level import ByteLevel
from tfhf.tokenization.graph.characters import CharacterMap, CharacterRules
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError
from tfhf.tokenization.graph.metaspace import SPACE
from tfhf.tokenization.graph.normalization import normalizer_rules, read_normalizer
from tfhf.tokenization.graph.pre_tokenization import Prefix, pre_tokenizer_replacements
from tfhf.tokenization.graph.rewriting import Rewriter
from tfhf.tokenization.graph.unigram import Unigram
from tfhf.tokenization.graph.wordpiece import WordPiece


class Model(Protocol):
    """What turns normalized text, a vector of n valid UTF-8 strings, into tokens."""

    def __call__(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Give int32 ids [n, (tokens)]."""

    def with_spans(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Give int32 [n, (tokens), 3]: the id, and the characters where it starts and ends."""


class Stages(NamedTuple):
    """What text goes through, in this order.

    Attributes:
        normalizer: rewrites text, if there is anything to rewrite.
        prefix: what is put before normalized text, if anything.
        model: turns it into tokens.
    """

    normalizer: Rewriter | None
    prefix: Prefix | None
    model: Model


def read_stages(spec: dict[str, Any], *, join: bool) -> Stages:
    """Compile the parts of a tokenizer.

    Args:
        spec: a whole tokenizer.json.
        join: whether the model may normalize as well, which is faster, since nobody needs to see
            the text in between.

    Raises:
        UnsupportedTokenizerError: if a part cannot be reproduced exactly.
    """
    kind = spec["model"]["type"]
    if kind == "WordPiece":
        return _word_piece(spec, join=join)
    if kind == "BPE":
        return _byte_fallback(spec) if spec["model"]["byte_fallback"] else _byte_level(spec)
    if kind == "Unigram":
        return _unigram(spec)
    raise UnsupportedTokenizerError("model", kind, "WordPiece, BPE or Unigram")


def _word_piece(spec: dict[str, Any], *, join: bool) -> Stages:
    """BERT, DistilBERT, ELECTRA, MPNet."""
    words = pre_tokenizer_replacements(spec["pre_tokenizer"])
    rules = normalizer_rules(spec["normalizer"])
    if join:
        return Stages(None, None, WordPiece(spec["model"], rules.then(words)))
    return Stages(CharacterMap(rules), None, WordPiece(spec["model"], CharacterRules.of(words)))


def _byte_level(spec: dict[str, Any]) -> Stages:
    """GPT-2, RoBERTa, BART, Llama-3, Qwen."""
    normalizer = read_normalizer(spec["normalizer"])
    pre_tokenizer = spec["pre_tokenizer"] or {"type": "missing"}
    model = ByteLevel(spec["model"], pre_tokenizer)
    prefix = Prefix(" ") if pre_tokenizer.get("add_prefix_space") else None
    return Stages(normalizer, prefix, model)


def _byte_fallback(spec: dict[str, Any]) -> Stages:
    """Llama-2, Mistral, Gemma."""
    normalizer = read_normalizer(spec["normalizer"])
    pre_tokenizer = spec["pre_tokenizer"]
    model = ByteFallback(spec["model"], pre_tokenizer)
    scheme = (pre_tokenizer or {}).get("prepend_scheme", "never")
    prefix = None if scheme == "never" else Prefix(SPACE, only_first=scheme == "first")
    return Stages(normalizer, prefix, model)


def _unigram(spec: dict[str, Any]) -> Stages:
    """T5, ALBERT, XLNet, XLM-R, mBART, CamemBERT, Pegasus, DeBERTa-v2."""
    normalizer = read_normalizer(spec["normalizer"])
    pre_tokenizer = spec["pre_tokenizer"] or {"type": "missing"}
    return Stages(normalizer, None, Unigram(spec["model"], pre_tokenizer))
