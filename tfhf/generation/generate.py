"""``model.generate``: from a prompt to what follows it, in one compiled function.

The prompt is read once; then a loop chooses a token for each sequence and reads it, with the keys
and values of all earlier ones in a cache. The same code runs from Python, as a graph, under XLA
and within a SavedModel.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from transformers import GenerationConfig

from tfhf.generation.assisted_search import AssistedSearch
from tfhf.generation.beam_search import BeamSearch
from tfhf.generation.compiled import CompiledSearch, run
from tfhf.generation.contrastive_search import ContrastiveSearch
from tfhf.generation.logits_processor_list import make_logits_processors
from tfhf.generation.prompts import prompt_tensors
from tfhf.generation.search import (
    Criterion,
    Prompt,
    Search,
    has_ids,
    rows_per_prompt,
    source_ids,
)
from tfhf.generation.settings import is_contrastive, settle, token_limit
from tfhf.generation.stopping import StopStringCriteria, any_of
from tfhf.generation.token_search import TokenSearch
from tfhf.layers.cache import compiling_with_xla
from tfhf.layers.checks import require
from tfhf.outputs import TFGenerateBeamOutput, TFGenerateOutput

#: XLA compiles anew for each shape: buffers are rounded up to multiples of this.
XLA_COLUMNS = 64
#: Compiled searches that a model keeps, each for other settings.
MOST_FUNCTIONS = 16
#: Settings that no search reads, for the prompt has them.
OF_THE_PROMPT = ("bos_token_id", "decoder_start_token_id", "max_length", "max_new_tokens")


def generate(
    model: Any,
    inputs: Any = None,
    generation_config: GenerationConfig | None = None,
    logits_processor: Any = None,
    seed: Any = None,
    *,
    prefix_allowed_tokens_fn: Callable[..., Any] | None = None,
    stopping_criteria: Sequence[Criterion] = (),
    assistant_model: Any = None,
    streamer: Any = None,
    tokenizer: Any = None,
    jit_compile: bool = False,
    **kwargs: Any,
) -> Any:
    """Continue token sequences; see `TFPreTrainedModel.generate` for the arguments."""
    settings, named = settle(model.generation_config, generation_config, kwargs)
    _check_together(model, settings, named, assistant_model, streamer, tokenizer)
    if inputs is not None:
        if named.get("input_ids") is not None:
            raise ValueError("generate got its prompt twice: as inputs and as input_ids")
        named["input_ids"] = inputs
    inside = not tf.executing_eagerly()  # the caller's own graph
    jit_compile = jit_compile or (inside and compiling_with_xla())
    given = prompt_tensors(
        model, settings, named, XLA_COLUMNS if jit_compile and not inside else None
    )
    columns = given["input_ids"].shape[1]
    length = tf.shape(given["input_ids"])[1] if columns is None else columns
    limit = _limit(model, settings, length, assistant_model)
    room = None
    if jit_compile:
        room = limit
        if not inside:
            room = _round_up(limit)
            room = room if model.max_length is None else min(room, model.max_length + 1)
    prompt = Prompt(
        length=tf.convert_to_tensor(length, tf.int32),
        max_length=tf.convert_to_tensor(limit, tf.int32),
        seed=_seed(seed),
        **given,
    )

    def make_processors(prompt: Prompt) -> Any:
        return make_logits_processors(
            settings,
            prompt_length=prompt.length,
            max_length=prompt.max_length,
            num_beams=settings.num_beams,
            attention_mask=tf.repeat(prompt.attention_mask, rows_per_prompt(settings), axis=0),
            encoder_input_ids=source_ids(prompt),
            prefix_allowed_tokens_fn=prefix_allowed_tokens_fn,
            custom=logits_processor or (),
        )

    def make_search() -> Search:
        criteria = list(stopping_criteria)
        if settings.stop_strings is not None:
            criteria.append(StopStringCriteria(tokenizer, settings.stop_strings))
        criterion = any_of(criteria) if criteria else None
        arguments = (model, settings, make_processors, criterion, room)
        if assistant_model is not None:
            return AssistedSearch(*arguments, assistant=assistant_model)
        if settings.num_beams > 1:
            return BeamSearch(*arguments)
        return (
            ContrastiveSearch(*arguments) if is_contrastive(settings) else TokenSearch(*arguments)
        )

    if inside:
        found = run(make_search(), prompt)
    else:
        settled = {k: v for k, v in settings.to_dict().items() if k not in OF_THE_PROMPT}
        own = (*(logits_processor or ()), prefix_allowed_tokens_fn, assistant_model, tokenizer)
        own = (*own, *stopping_criteria)
        key = (json.dumps(settled, sort_keys=True, default=repr), jit_compile, room, *map(id, own))
        functions = model.generation_functions
        if key not in functions:
            while len(functions) >= MOST_FUNCTIONS:
                del functions[next(iter(functions))]
            functions[key] = CompiledSearch(make_search(), jit_compile, own)
        found = functions[key].run(prompt, streamer)
    if not inside or not jit_compile:  # XLA's shapes are fixed
        found = _cut(found, prompt)
    if not has_ids(prompt):
        found["sequences"] = found["sequences"][:, length:]
    if not settings.return_dict_in_generate:
        return found["sequences"]
    return (TFGenerateBeamOutput if settings.num_beams > 1 else TFGenerateOutput).of(**found)


def _check_together(
    model: Any,
    settings: GenerationConfig,
    named: dict[str, Any],
    assistant_model: Any,
    streamer: Any,
    tokenizer: Any,
) -> None:
    """Refuse arguments that do not go together."""
    if settings.stop_strings is not None and tokenizer is None:
        raise ValueError("stop_strings needs the tokenizer: generate(…, tokenizer=tokenizer)")
    if streamer is not None and max(settings.num_beams, settings.num_return_sequences) > 1:
        raise ValueError(
            "a streamer cannot be used with beam search or several sequences for a prompt: "
            "set num_beams=1 and num_return_sequences=1"
        )
    if is_contrastive(settings):
        _require_keys(model, "contrastive search")
    if assistant_model is None:
        return
    if settings.num_beams > 1 or is_contrastive(settings):
        raise ValueError(
            "an assistant_model helps greedy search and sampling alone: set num_beams=1"
        )
    if named.get("inputs_embeds") is not None:
        raise ValueError("inputs_embeds are of one model, and no prompt for an assistant_model")
    for each in (model, assistant_model):
        _require_keys(each, "generation with an assistant_model")
    if assistant_model.config.is_encoder_decoder != model.config.is_encoder_decoder:
        raise ValueError(
            f"{type(assistant_model).__name__} cannot assist {type(model).__name__}: both must be "
            "decoders, or both encoder-decoders"
        )
    theirs, ours = (each.config.get_text_config().vocab_size for each in (assistant_model, model))
    if theirs != ours:
        raise ValueError(
            "assistant_model must have the model's vocabulary, but it knows "
            f"{theirs} tokens, and the model {ours}"
        )


def _require_keys(model: Any, search: str) -> None:
    """Refuse a model that cannot forget tokens that it has read."""
    if "past_key_values" not in model.input_names:
        raise ValueError(
            f"{search} needs a model with past_key_values, of which it takes back what it read in "
            f"vain, but {type(model).__name__} has none"
        )


def _round_up(columns: int) -> int:
    return -(-columns // XLA_COLUMNS) * XLA_COLUMNS


def _limit(model: Any, settings: GenerationConfig, length: Any, assistant_model: Any) -> Any:
    name = "decoder_input_ids" if model.config.is_encoder_decoder else "input_ids"
    if isinstance(length, int):
        positions = None if assistant_model is None else assistant_model.max_length
        if positions is not None and length > positions:
            raise ValueError(
                f"{name} has {length} tokens, but the assistant_model has positions for {positions}"
            )
        return token_limit(settings, length, model.max_length, argument=name)
    limit = settings.max_length
    if settings.max_new_tokens is not None:
        limit = length + settings.max_new_tokens
    if model.max_length is not None:
        limit = tf.minimum(limit, model.max_length + 1)  # the last token is never read
    message = [f"{name} must have fewer columns than may be in the end,", limit, "but have"]
    return require(length < limit, [*message, length], tf.convert_to_tensor(limit))


def _seed(seed: Any) -> tf.Tensor:
    if seed is None:  # a new one, which `keras.utils.set_random_seed` makes repeatable
        return tf.random.uniform([2], 0, 2**31 - 1, tf.int32)
    given = tf.convert_to_tensor(seed)
    if given.dtype.is_integer and given.shape.rank == 2 and given.shape[1] == 2:
        return tf.cast(given, tf.int32)
    if not given.dtype.is_integer or given.shape.num_elements() not in (1, 2):
        raise ValueError(f"seed must be an integer or two, but is {seed!r}")
    pair = tf.reshape(tf.cast(given, tf.int32), [-1])
    return tf.concat([pair, [0]], axis=0) if pair.shape[0] == 1 else pair


def _cut(found: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
    """Leave out what was not written."""
    length, steps = found["length"], found["steps"]
    found["sequences"] = found["sequences"][:, :length]
    if "beam_indices" in found:
        found["beam_indices"] = found["beam_indices"][:, : length - prompt.length]
    if "scores" in found:
        scores = found["scores"]
        found["scores"] = tuple(scores[: int(steps)]) if tf.executing_eagerly() else scores[:steps]
    return found
