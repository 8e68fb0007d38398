"""What generation goes on from: a text; for an encoder-decoder a source, and a target's start."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import tensorflow as tf
from transformers import GenerationConfig

from tfhf.layers.cache import compiling_with_xla
from tfhf.layers.checks import require, require_sequence
from tfhf.models.seq2seq import as_encoder_output

logger = logging.getLogger(__name__)

#: Inputs of a model that ``generate`` does not take, and why.
NOT_TAKEN = {
    "cache_position": "generate counts the places of tokens itself",
    "decoder_inputs_embeds": "generate goes on from tokens, decoder_input_ids, not from vectors",
    "decoder_position_ids": "generate counts the positions of a target itself",
    "past_key_values": "generate reads the whole prompt itself",
    "position_ids": "generate counts positions itself, and leaves out what attention_mask hides",
}
#: What an encoder reads, or said; each has a column for each token of the source.
SOURCES = ("input_ids", "inputs_embeds", "encoder_outputs")
BY_SOURCE_COLUMN = (*SOURCES, "attention_mask", "global_attention_mask", "token_type_ids")


def prompt_tensors(
    model: Any, settings: GenerationConfig, named: dict[str, Any], source_multiple: int | None
) -> dict[str, Any]:
    """Return what the decoder goes on from, and what the model is told beside it.

    Args:
        model: a decoder or an encoder-decoder.
        settings: of `settle`.
        named: inputs of the model, as the caller gave them.
        source_multiple: columns of a source are made a multiple of this; ``None``: they are left.

    Returns:
        The fields of a `Prompt` that say so. A source, among ``inputs``, always has its mask.

    Raises:
        ValueError: an input is unknown, or not what it should be.
    """
    named = {
        name: value if name == "encoder_outputs" else tf.convert_to_tensor(value)
        for name, value in named.items()
        if value is not None
    }
    of_encoder_decoder = model.config.is_encoder_decoder
    for name in named:
        if name in NOT_TAKEN and name in model.input_names:
            raise ValueError(f"generate takes no {name}: {NOT_TAKEN[name]}")
    unknown = [name for name in named if name not in model.input_names]
    if unknown:
        raise ValueError(
            f"The following arguments are not used by the model: {unknown} "
            "(note: typos in the generate arguments will also show up in this list)"
        )
    if not of_encoder_decoder:
        ids, mask = _text(settings, named)
        source_length = tf.shape(ids)[1]
    else:
        named = _source(model, settings, named)
        ids, mask = _target(settings, named)
        source_length = tf.shape(named["attention_mask"])[1]
        if source_multiple is not None:
            named = _fill_up(named, source_multiple, model.max_source_length)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "inputs": named,
        "source_length": source_length,
    }


def _text(settings: GenerationConfig, named: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
    """Return what a decoder goes on from, and its mask; both leave ``named``.

    Vectors stay there.
    """
    if "inputs_embeds" in named:
        name, input_ids = "inputs_embeds", _ids_of_vectors(named)
    else:
        name, input_ids = "input_ids", _ids(named, "input_ids", settings)
    mask = _mask(named, "attention_mask", input_ids, name)
    if tf.executing_eagerly() and _ends_with_padding(input_ids, mask, settings):
        logger.warning(
            "A decoder-only architecture is being used, but right-padding was detected! For "
            "correct generation results, please set `padding_side='left'` when initializing the "
            "tokenizer."
        )
    return input_ids, _guess_mask(input_ids, settings) if mask is None else mask


def _ends_with_padding(
    input_ids: tf.Tensor, mask: tf.Tensor | None, settings: GenerationConfig
) -> bool:
    """Whether a row does; without a mask a row alone may well end with that token."""
    if mask is not None:
        return bool(np.any(mask[:, -1] == 0))
    return len(input_ids) > 1 and bool(np.any(input_ids[:, -1] == settings.pad_token_id))


def _ids_of_vectors(named: dict[str, Any]) -> tf.Tensor:
    """Return -1, which is no token, for each vector of a prompt: int32 [batch, columns]."""
    if "input_ids" in named:
        raise ValueError("generate got its prompt twice: as input_ids and as inputs_embeds")
    vectors = named["inputs_embeds"]
    if vectors.shape.rank != 3 or vectors.shape[1] == 0:
        raise ValueError(
            "inputs_embeds must be [batch, length, size], of one column at least, but their shape "
            f"is {vectors.shape}"
        )
    return -tf.ones_like(vectors[..., 0], tf.int32)


def _source(model: Any, settings: GenerationConfig, named: dict[str, Any]) -> dict[str, Any]:
    """Return ``named`` with a source that is checked, and its mask.

    Where none is given, it is guessed, as by Transformers 4; Transformers 5 would see padding.
    """
    named = dict(named)
    if "input_ids" in named and "inputs_embeds" in named:
        raise ValueError("generate got its source twice: as input_ids and as inputs_embeds")
    if "encoder_outputs" in named:
        named["encoder_outputs"] = as_encoder_output(named["encoder_outputs"]).last_hidden_state
    if not any(name in named for name in SOURCES) or "input_ids" in named:
        ids = _ids(named, "input_ids", settings)
        named["input_ids"] = require_sequence(ids, "input_ids", max_length=model.max_source_length)
    name = next(name for name in reversed(SOURCES) if name in named)
    mask = _mask(named, "attention_mask", named[name], name)
    if mask is None and "input_ids" in named:
        mask = _guess_mask(named["input_ids"], settings)
    elif mask is None:
        mask = tf.ones(tf.shape(named[name])[:2], tf.int32)
    return named | {"attention_mask": mask}


def _target(settings: GenerationConfig, named: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
    """Return how a target starts, and its mask; both leave ``named``.

    ``decoder_input_ids`` that begin with another token than the first get that one in front, as
    Transformers does it; not where XLA compiles the caller's graph, and wants to know sizes.
    """
    given = "decoder_input_ids" in named
    start = settings.decoder_start_token_id
    start = settings.bos_token_id if start is None else start
    if start is None and not given:
        raise ValueError(
            "`decoder_start_token_id` or `bos_token_id` has to be defined for encoder-decoder "
            "generation."
        )
    rows = tf.shape(named["attention_mask"])[0]
    first = None
    if start is not None:
        starts = tf.reshape(tf.constant(start, tf.int32), [-1])
        message = ["decoder_start_token_id must be one token, or one for each of", rows]
        fits = tf.equal(starts.shape[0], rows) | (starts.shape[0] == 1)
        starts = require(fits, [*message, "sources, but are", starts.shape[0]], starts)
        first = tf.broadcast_to(starts, [rows])[:, None]
    if not given:
        return first, tf.ones_like(first)
    ids = _ids(named, "decoder_input_ids", settings)
    sources = named["attention_mask"].shape[0]
    if not ids.shape[:1].is_compatible_with([sources]):
        raise ValueError(
            f"decoder_input_ids must have a row for each of {sources} sources, but their shape is "
            f"{ids.shape}"
        )
    mask = _mask(named, "decoder_attention_mask", ids, "decoder_input_ids")
    mask = tf.ones_like(ids) if mask is None else mask
    if first is None or compiling_with_xla():
        return ids, mask
    first = first[:, : tf.cast(tf.reduce_all(ids[:, :1] != first), tf.int32)]
    return tf.concat([first, ids], axis=1), tf.concat([tf.ones_like(first), mask], axis=1)


def _fill_up(named: dict[str, Any], multiple: int, most: int | None) -> dict[str, Any]:
    """Return ``named`` with sources of a multiple of columns, but not of more than ``most``."""
    columns = named["attention_mask"].shape[1]
    wanted = -(-columns // multiple) * multiple
    more = max(wanted if most is None else min(wanted, most), columns) - columns
    return {
        name: tf.pad(value, [[0, 0], [0, more]] + [[0, 0]] * (value.shape.rank - 2))
        if name in BY_SOURCE_COLUMN
        else value
        for name, value in named.items()
    }


def _ids(named: dict[str, Any], name: str, settings: GenerationConfig) -> tf.Tensor:
    """Return ids int32 [batch, columns], which leave ``named``; default: the one to begin with."""
    ids = named.pop(name, None)
    if ids is None:
        if settings.bos_token_id is None:
            raise ValueError(f"`bos_token_id` has to be defined when no `{name}` are provided.")
        ids = tf.constant([[settings.bos_token_id]])
    if ids.shape.rank != 2 or not ids.dtype.is_integer:
        raise ValueError(
            f"{name} must be integers [batch, length], but they are {ids.dtype.name} {ids.shape}"
        )
    if ids.shape[1] == 0:
        raise ValueError(f"{name} must have at least one column, but are {ids.shape}")
    return tf.cast(ids, tf.int32)


def _mask(
    named: dict[str, Any], name: str, tokens: tf.Tensor, tokens_name: str
) -> tf.Tensor | None:
    """Return the mask int32 [batch, columns] of ``tokens``, which leaves ``named``, or ``None``."""
    mask = named.pop(name, None)
    if mask is None:
        return None
    shape = tokens.shape[:2]
    if not mask.shape.is_compatible_with(shape):
        raise ValueError(
            f"{name} must have the shape of {tokens_name}, {shape}, but has {mask.shape}"
        )
    return tf.cast(mask, tf.int32)


def _guess_mask(input_ids: tf.Tensor, settings: GenerationConfig) -> tf.Tensor:
    """Return the mask of a prompt that came without one: 0 for ``pad_token_id``.

    It is all 1 where that token also ends sequences: it may then stand in a prompt as such.
    """
    padding = settings.pad_token_id
    if padding is None or padding in np.ravel(settings.eos_token_id):
        return tf.ones_like(input_ids)
    is_padding = input_ids == padding
    return tf.cast(tf.logical_not(is_padding), tf.int32)
