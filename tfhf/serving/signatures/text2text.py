"""Texts in, texts out that an encoder and a decoder make of them: summaries, translations."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from transformers import PreTrainedTokenizerBase

from tfhf.generation.task_settings import task_settings, translation_task
from tfhf.modeling import TFPreTrainedModel
from tfhf.serving.signatures.generation import Writer
from tfhf.serving.signatures.signature import (
    TEXT,
    Signature,
    Tensors,
    graph_tokenizer,
    longest_text,
    widen,
)

#: The length of results where nobody says more, as in the pipelines.
DEFAULT_MAX_LENGTH = 20


def text2text_generation(
    model: TFPreTrainedModel, tokenizer: PreTrainedTokenizerBase, **settings: Any
) -> Signature:
    """Make the signature of an encoder-decoder: ``text`` (strings [batch]) -> ``generated_text``.

    Results are strings [batch], or [batch, sequences] with ``num_return_sequences``; each is what
    the pipeline gives. Texts are cut to what the tokenizer (``model_max_length``) and the encoder's
    positions allow. In LED, the first token of a text sees all others.

    Args:
        model: an encoder-decoder with the scores of the next token.
        tokenizer: its tokenizer.
        **settings: ``prefix``, a text before every text (default: as ``task_specific_params`` of
            the configuration say); those of ``model.generate``; ``seed``, with which a text always
            gets the same answer.

    Raises:
        TypeError: there is no such setting.
        UnsupportedTokenizerError: TensorFlow operations cannot reproduce the tokenizer exactly.
        ValueError: a setting is impossible.
    """
    return _signature(model, tokenizer, "text2text-generation", "generated_text", settings)


def summarization(
    model: TFPreTrainedModel, tokenizer: PreTrainedTokenizerBase, **settings: Any
) -> Signature:
    """Make the signature of a model that summarises: ``text`` -> ``summary_text``.

    All is as in :func:`text2text_generation`.
    """
    return _signature(model, tokenizer, "summarization", "summary_text", settings)


def translation(
    model: TFPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    task: str = "translation",
    src_lang: str | None = None,
    tgt_lang: str | None = None,
    **settings: Any,
) -> Signature:
    """Make the signature of a model that translates: ``text`` -> ``translation_text``.

    Arguments, results and errors are those of :func:`text2text_generation`, and:

    Args:
        model: an encoder-decoder with the scores of the next token.
        tokenizer: its tokenizer.
        task: ``"translation_xx_to_yy"`` has the settings of these languages; ``"translation"`` of
            the first ones that the configuration has settings for.
        src_lang: the language of texts, for a model of many; default: xx.
        tgt_lang: the language of results; default: yy.
        **settings: see :func:`text2text_generation`.

    Raises:
        ValueError: a model of many languages is not told which, or knows none of this name.
    """
    task = translation_task(model.config) if task == "translation" else task
    match task.split("_"):
        case "translation", source, "to", target:
            if (src_lang, tgt_lang) == (None, None):
                src_lang, tgt_lang = source, target
        case ["translation"]:
            pass
        case _:
            raise ValueError(
                f"task must be 'translation' or 'translation_xx_to_yy', but is {task!r}"
            )
    if not hasattr(tokenizer, "_build_translation_inputs"):
        return _signature(model, tokenizer, task, "translation_text", settings)
    # That of a model of many languages. Not a copy of it, whose scores differ in the last bit:
    for name, language in {"src_lang": src_lang, "tgt_lang": tgt_lang}.items():
        _require_language(tokenizer, name, language)
    settings.setdefault("forced_bos_token_id", tokenizer.convert_tokens_to_ids(tgt_lang))
    set_before = tokenizer.src_lang
    tokenizer.src_lang = src_lang
    try:
        return _signature(model, tokenizer, task, "translation_text", settings)
    finally:
        tokenizer.src_lang = set_before


def _signature(
    model: TFPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: str,
    result: str,
    given: dict[str, Any],
) -> Signature:
    """Make the signature of a task, whose results have this name."""
    config, prefix = task_settings(model, tokenizer, task, max_length=DEFAULT_MAX_LENGTH)
    prefix = given.pop("prefix", prefix) or ""
    writer = Writer(model, config, given, tokenizer)
    longest = longest_text(tokenizer, model.max_source_length)
    graph = graph_tokenizer(model, tokenizer, max_length=longest)

    @tf.function(autograph=False)
    def serve(text: tf.Tensor) -> Tensors:
        sequences = writer(_source(model, graph(tf.strings.join([prefix, text]))))
        # The first token is the decoder's start, which may be one that ends sequences, too.
        written = tf.concat([sequences[:, :1], writer.until_end(sequences[:, 1:])], axis=1)
        return {result: writer.by_prompt(graph.decode(written))}

    return Signature(
        serve.get_concrete_function(text=TEXT),
        warmup=[{"text": tf.constant(["warm-up"])}],
        tracked=(graph,),
        facts=writer.facts,
    )


def _source(model: TFPreTrainedModel, tokens: Tensors) -> Tensors:
    """Return what the encoder reads, one column at least."""
    names = ("input_ids", "attention_mask")
    inputs = {name: widen(tokens[name]) for name in names if name in tokens}
    if "global_attention_mask" in model.input_names:
        first = tf.one_hot(0, tf.shape(inputs["input_ids"])[1], dtype=tf.int32)
        inputs["global_attention_mask"] = tf.ones_like(inputs["input_ids"]) * first
    return inputs


def _require_language(tokenizer: PreTrainedTokenizerBase, name: str, language: str | None) -> None:
    """Refuse what is no language of a tokenizer."""
    known = getattr(tokenizer, "lang_code_to_id", {})
    if language is None or (known and language not in known):
        raise ValueError(
            f"{name} must be a language of the tokenizer ({', '.join(known)}), but is {language!r}"
        )
