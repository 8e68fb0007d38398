"""Texts in, what a decoder goes on with out."""

from __future__ import annotations

import copy
from typing import Any

import tensorflow as tf
from transformers import GenerationConfig, PreTrainedTokenizerBase

from tfhf.generation.logits_warpers import TFLogitsWarper, TFTopKLogitsWarper, TFTopPLogitsWarper
from tfhf.generation.task_settings import task_settings
from tfhf.modeling import TFPreTrainedModel
from tfhf.serving.signatures.generation import Writer
from tfhf.serving.signatures.signature import (
    TEXT,
    Signature,
    Tensors,
    graph_tokenizer,
    longest_text,
)
from tfhf.tokenization.graph import GraphTokenizer
from tfhf.tokenization.graph.assembly import pad
from tfhf.tokenization.graph.decoding import Decoder

#: What a temperature of 0 is taken for: beside scores divided by it, a draw's noise is nothing.
LOWEST_TEMPERATURE = 1e-6


def text_generation(
    model: TFPreTrainedModel, tokenizer: PreTrainedTokenizerBase, **settings: Any
) -> Signature:
    """Make the signature of a decoder that continues texts, as its pipeline does.

    ``text`` (strings [batch]) -> ``generated_text`` (strings [batch], or [batch, sequences] with
    ``num_return_sequences``). Settings and errors are those of `Continuation`.
    """
    continuation = Continuation(model, tokenizer, **settings)

    @tf.function(autograph=False)
    def serve(text: tf.Tensor) -> Tensors:
        return {"generated_text": continuation(text)}

    return Signature(
        serve.get_concrete_function(text=TEXT),
        warmup=[{"text": tf.constant(["warm-up"])}],
        tracked=continuation.tracked,
        facts=continuation.writer.facts,
    )


def generate_text(
    model: TFPreTrainedModel, tokenizer: PreTrainedTokenizerBase, **settings: Any
) -> Signature:
    """Make the signature of a decoder whose caller says, for each text, how to choose tokens.

    A signature has no defaults: beside ``text`` (strings [batch]) it takes, [batch] each,

    - ``max_new_tokens`` (int32): up to the setting of this name;
    - ``temperature`` (float32): 0 takes the likeliest token;
    - ``top_p`` (float32): 1 leaves all tokens;
    - ``seed`` (int32): a text gets the same answer for the same seed, whatever its batch.

    What is beyond a limit counts as the limit. The result is ``generated_text``, as in
    :func:`text_generation`. Settings and errors are those of `Continuation`; ``top_k`` and others
    are fixed, and there are no beams.

    Raises:
        ValueError: a setting is one that requests have, or asks for beams or for no sampling.

    Example:
        >>> import functools, tfhf
        >>> model = tfhf.TFAutoModelForCausalLM.from_pretrained("gpt2")  # doctest: +SKIP
        >>> tokenizer = tfhf.AutoTokenizer.from_pretrained("gpt2")  # doctest: +SKIP
        >>> signature = functools.partial(generate_text, max_new_tokens=99)
        >>> model.export("models/gpt2", tokenizer, signatures={"generate_text": signature})
        ... # doctest: +SKIP
        'models/gpt2/1'
    """
    # Those of requests take the place of temperature, top_p and seed.
    told = {"do_sample": True, "num_beams": 1, "temperature": 1.0, "top_p": 1.0, "seed": 0}
    if other := [name for name in told if settings.get(name, told[name]) != told[name]]:
        given = ", ".join(f"{name} = {settings[name]!r}" for name in other)
        raise ValueError(
            f"{given}: generate_text samples without beams, by the temperature, top_p and seed of "
            "each request (temperature 0: the likeliest token); expected no such setting"
        )
    continuation = Continuation(model, tokenizer, **settings | told)
    fixed = continuation.writer.settings

    @tf.function(autograph=False)
    def serve(
        text: tf.Tensor,
        max_new_tokens: tf.Tensor,
        temperature: tf.Tensor,
        top_p: tf.Tensor,
        seed: tf.Tensor,
    ) -> Tensors:
        temperature, top_p, new_tokens = (
            tf.repeat(each, fixed.num_return_sequences)
            for each in (
                temperature,
                top_p,
                tf.clip_by_value(max_new_tokens, 1, fixed.max_new_tokens),
            )
        )
        top_k = [TFTopKLogitsWarper(fixed.top_k)] if fixed.top_k else []
        generated = continuation(
            text,
            new_tokens=new_tokens,
            logits_processor=[_TemperatureByRow(temperature), *top_k, _TopPByRow(top_p)],
            top_k=0,
            seed=tf.stack([seed, tf.zeros_like(seed)], axis=1),
        )
        return {"generated_text": generated}

    request = {"text": "warm-up", "max_new_tokens": fixed.max_new_tokens}
    request |= {"temperature": 1.0, "top_p": 1.0, "seed": 0}
    example = {name: tf.constant([value]) for name, value in request.items()}
    specs = {name: tf.TensorSpec([None], value.dtype) for name, value in example.items()}
    return Signature(
        serve.get_concrete_function(**specs),
        warmup=[example],
        tracked=continuation.tracked,
        facts=continuation.writer.facts,
    )


class Continuation:
    """Continues texts in a graph: prompts of all lengths in one batch, padded at the left.

    What a text gets does not depend on the others of its batch, but for settings that count
    padding as tokens (``no_repeat_ngram_size``, ``encoder_…``). Of a text that leaves no room for
    ``max_new_tokens`` among the model's positions, the end is read. An empty text begins with
    ``bos_token_id``; where a model has none, nothing follows it.

    Args:
        model: a decoder with the scores of the next token.
        tokenizer: its tokenizer.
        return_full_text: whether results begin with the texts.
        prefix: a text before every text, which results do not show; default: as the configuration
            says.
        clean_up_tokenization_spaces: whether to take out spaces before punctuation.
        **settings: those of ``model.generate``; and ``seed``, with which a text always gets the
            same answer.

    Raises:
        TypeError: there is no such setting.
        UnsupportedTokenizerError: TensorFlow operations cannot reproduce the tokenizer exactly.
        ValueError: a setting is impossible, or counts the tokens of a text, too, which differ from
            row to row: ``max_length``, ``min_length``.
    """

    def __init__(
        self,
        model: TFPreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        return_full_text: bool = True,
        prefix: str | None = None,
        clean_up_tokenization_spaces: bool = True,
        **settings: Any,
    ) -> None:
        config, own_prefix = task_settings(model, tokenizer, "text-generation")
        self.writer = Writer(model, config, settings, tokenizer)
        _require_new_tokens(self.writer.settings)
        self._prefix = (own_prefix if prefix is None else prefix) or ""
        self._return_full_text = return_full_text
        self._tokenizer = _prompt_tokenizer(model, tokenizer, self.writer.settings.max_new_tokens)
        self._decoder = Decoder(
            tokenizer.backend_tokenizer, clean_up_spaces=clean_up_tokenization_spaces
        )

    @property
    def tracked(self) -> tuple[tf.Module, ...]:
        """What owns tables."""
        return self._tokenizer, self._decoder

    def __call__(
        self, text: tf.Tensor, new_tokens: tf.Tensor | None = None, **options: Any
    ) -> tf.Tensor:
        """Continue texts [batch].

        Args:
            text: strings.
            new_tokens: int32 [batch * sequences], the most there may be of each.
            **options: arguments of ``model.generate`` that count before the settings.
        """
        settings = self.writer.settings
        padding, sequences = settings.pad_token_id or 0, settings.num_return_sequences
        text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
        told = self._tokenizer(tf.strings.join([self._prefix, text]))["input_ids"]
        start = padding if settings.bos_token_id is None else settings.bos_token_id
        prompts = _begin_empty_rows(told, start)
        width = tf.reduce_max(tf.concat([prompts.row_lengths(), [1]], axis=0))
        columns = tf.cast(width, tf.int32)
        if new_tokens is not None:
            options["stopping_criteria"] = [lambda _, length: length - columns >= new_tokens]
        found = self.writer(
            {
                "input_ids": pad(prompts, width, padding, "left"),
                "attention_mask": pad(tf.ones_like(prompts), width, 0, "left"),
            },
            **options,
        )
        new = self.writer.until_end(found[:, columns:], new_tokens)
        rows = tf.repeat(tf.range(tf.size(text)), sequences)
        known = tf.gather(tf.strings.length(self._decoder(told), "UTF8_CHAR"), rows)
        whole = self._decoder(tf.concat([tf.gather(prompts, rows), new], axis=1))
        continued = _from_character(whole, known)
        if settings.bos_token_id is None:
            has_begun = tf.gather(told.row_lengths() > 0, rows)
            continued = tf.where(has_begun, continued, "")
        if self._return_full_text:
            continued = tf.strings.join([tf.gather(text, rows), continued])
        return self.writer.by_prompt(continued)


class _TemperatureByRow(TFLogitsWarper):
    """Divides the scores of each row by its own temperature."""

    def __init__(self, temperature: tf.Tensor) -> None:
        self.temperature = tf.maximum(temperature, LOWEST_TEMPERATURE)[:, None]

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        return scores / self.temperature


class _TopPByRow(TFTopPLogitsWarper):
    """Keeps the likeliest tokens of each row that have its own share of the probability."""

    def __init__(self, top_p: tf.Tensor) -> None:
        super().__init__(1.0)
        self.top_p = tf.clip_by_value(top_p, 0.0, 1.0)[:, None]


def _require_new_tokens(settings: GenerationConfig) -> None:
    """Refuse lengths that count a text's tokens."""
    lengths = {"max_new_tokens": settings.max_length, "min_new_tokens": settings.min_length}
    if settings.max_new_tokens is not None:
        del lengths["max_new_tokens"]
    for expected, given in lengths.items():
        if given:
            name = expected.replace("_new_tokens", "_length")
            raise ValueError(
                f"{name} = {given} counts the tokens of a text, too, which differ from row to row "
                f"of a batch: expected {expected}"
            )


def _prompt_tokenizer(
    model: TFPreTrainedModel, tokenizer: PreTrainedTokenizerBase, new_tokens: int
) -> GraphTokenizer:
    """Return a tokenizer that leaves room for what is to follow."""
    longest = longest_text(tokenizer, model.max_length)
    if longest is not None:
        if longest <= new_tokens:
            raise ValueError(
                f"max_new_tokens = {new_tokens} leave no room for a text: model and tokenizer "
                f"allow {longest} tokens"
            )
        longest -= new_tokens
    cutting = copy.copy(tokenizer)
    cutting.truncation_side = "left"
    return graph_tokenizer(model, cutting, padding=False, max_length=longest)


def _begin_empty_rows(rows: tf.RaggedTensor, start: int) -> tf.RaggedTensor:
    """Return rows of which those without tokens have the one that begins a text."""
    missing = tf.cast(rows.row_lengths() == 0, tf.int64)
    starts = tf.fill([tf.reduce_sum(missing)], start)
    return tf.concat([tf.RaggedTensor.from_row_lengths(starts, missing), rows], axis=1)


def _from_character(texts: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
    """Return what texts have from their character number ``starts`` on."""
    lengths = tf.strings.length(texts, "UTF8_CHAR")
    starts = tf.minimum(starts, lengths)
    return tf.strings.substr(texts, starts, lengths - starts, "UTF8_CHAR")
