"""``model.generate``: from a prompt to what follows it, in one compiled function.

The prompt is read once; then a loop chooses a token for each sequence and reads it, with the keys
and values of all earlier ones in a cache. The same code runs from Python, as a graph, under XLA
and within a SavedModel.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from transformers import GenerationConfig

from tfhf.generation.assisted_search import AssistedSearch
from tfhf.generation.beam_search import BeamSearch
from tfhf.generation.contrastive_search import ContrastiveSearch
from tfhf.generation.logits_processor_list import make_logits_processors
from tfhf.generation.search import Prompt, Search, rows_per_prompt
from tfhf.generation.settings import is_contrastive, settle, token_limit
from tfhf.generation.stopping import StopStringCriteria
from tfhf.generation.token_search import TokenSearch
from tfhf.layers.cache import compiling_with_xla
from tfhf.layers.checks import require
from tfhf.outputs import TFGenerateBeamOutput, TFGenerateOutput

logger = logging.getLogger(__name__)

#: XLA compiles anew for each shape: prompts and buffers are rounded up to multiples of this.
XLA_COLUMNS = 64
#: Compiled searches that a model keeps, each for other settings.
MOST_FUNCTIONS = 16
#: Inputs of the model that `generate` itself gives.
OWN_INPUTS = ("cache_position", "inputs_embeds", "past_key_values", "position_ids", "use_cache")


def generate(
    model: Any,
    inputs: Any = None,
    generation_config: GenerationConfig | None = None,
    logits_processor: Any = None,
    seed: Any = None,
    *,
    prefix_allowed_tokens_fn: Callable[..., Any] | None = None,
    assistant_model: Any = None,
    streamer: Any = None,
    tokenizer: Any = None,
    jit_compile: bool = False,
    **kwargs: Any,
) -> Any:
    """Continue token sequences; see `TFPreTrainedModel.generate` for the arguments."""
    settings, named = settle(model.generation_config, generation_config, kwargs)
    _check_together(model, settings, assistant_model, streamer, tokenizer)
    if inputs is not None:
        if named.get("input_ids") is not None:
            raise ValueError("generate got its prompt twice: as inputs and as input_ids")
        named["input_ids"] = inputs
    input_ids, attention_mask, named = _prompt_tensors(model, settings, named)

    columns = input_ids.shape[1]
    inside = not tf.executing_eagerly()  # the caller's own graph
    jit_compile = jit_compile or (inside and compiling_with_xla())
    length = tf.shape(input_ids)[1] if columns is None else columns
    limit = _limit(model, settings, length)
    room = None
    if jit_compile:
        room = limit
        if not inside:
            room = min(_round_up(limit), model.max_length or _round_up(limit))
            more = [[0, 0], [0, min(_round_up(columns), room) - columns]]
            input_ids = tf.pad(input_ids, more)
            attention_mask = tf.pad(attention_mask, more)
            if "token_type_ids" in named:
                named["token_type_ids"] = tf.pad(named["token_type_ids"], more)
    prompt = Prompt(
        input_ids,
        attention_mask,
        tf.convert_to_tensor(length, tf.int32),
        tf.convert_to_tensor(limit, tf.int32),
        _seed(seed),
        named,
    )

    def make_processors(prompt: Prompt) -> Any:
        is_prompt = tf.range(tf.shape(prompt.input_ids)[1]) < prompt.length
        return make_logits_processors(
            settings,
            prompt_length=prompt.length,
            max_length=prompt.max_length,
            num_beams=settings.num_beams,
            attention_mask=tf.repeat(prompt.attention_mask, rows_per_prompt(settings), axis=0),
            encoder_input_ids=tf.where(is_prompt, prompt.input_ids, -1),
            prefix_allowed_tokens_fn=prefix_allowed_tokens_fn,
            custom=logits_processor or (),
        )

    def make_search() -> Search:
        criterion = None
        if settings.stop_strings is not None:
            criterion = StopStringCriteria(tokenizer, settings.stop_strings)
        arguments = (model, settings, make_processors, criterion, room)
        if assistant_model is not None:
            return AssistedSearch(*arguments, assistant=assistant_model)
        if settings.num_beams > 1:
            return BeamSearch(*arguments)
        return (
            ContrastiveSearch(*arguments) if is_contrastive(settings) else TokenSearch(*arguments)
        )

    if inside:
        found = _search(make_search(), prompt)
    else:
        lengths = ("max_length", "max_new_tokens")  # the prompt tells them
        settled = {k: v for k, v in settings.to_dict().items() if k not in lengths}
        own = (*(logits_processor or ()), prefix_allowed_tokens_fn, assistant_model, tokenizer)
        key = (json.dumps(settled, sort_keys=True, default=repr), jit_compile, room, *map(id, own))
        functions = model.generation_functions
        if key not in functions:
            while len(functions) >= MOST_FUNCTIONS:
                del functions[next(iter(functions))]
            functions[key] = _Compiled(make_search(), jit_compile, own)
        found = functions[key].run(prompt, streamer)
    if not inside or not jit_compile:  # XLA's shapes are fixed
        found = _cut(found, prompt)
    if not settings.return_dict_in_generate:
        return found["sequences"]
    return (TFGenerateBeamOutput if settings.num_beams > 1 else TFGenerateOutput).of(**found)


def _search(search: Any, prompt: Prompt) -> dict[str, Any]:
    (state,) = tf.while_loop(
        lambda state: search.running(state, prompt),
        lambda state: (search.step(state, prompt),),
        (search.start(prompt),),
        parallel_iterations=1,
    )
    return search.finish(state, prompt)


class _Compiled:
    """A search as compiled functions: the whole of it, or step by step for a streamer."""

    def __init__(self, search: Any, jit_compile: bool, named_by_id: tuple[Any, ...]) -> None:
        self.search = search
        self.jit_compile = jit_compile
        self.named_by_id = named_by_id  # kept, so that no other object gets the same id
        options = {"autograph": False, "jit_compile": jit_compile}
        self.whole = tf.function(lambda prompt: _search(search, prompt), **options)
        self.start = tf.function(search.start, **options)
        self.step = tf.function(search.step, **options)

    def run(self, prompt: Prompt, streamer: Any) -> dict[str, Any]:
        if streamer is None:
            return self.whole.get_concrete_function(self.specs(prompt))(prompt)
        length = int(prompt.length)
        streamer.put(prompt.input_ids[:, :length].numpy())
        state = self.start(prompt)
        while True:
            for column in range(length, int(state.length)):
                streamer.put(state.input_ids[:, column].numpy())
            length = int(state.length)
            if not self.search.running(state, prompt):
                break
            state = self.step(state, prompt)
        streamer.end()
        return self.search.finish(state, prompt)

    def specs(self, prompt: Prompt) -> Prompt:
        """Return what the function is traced for: any batch and length, but with XLA."""

        def spec(tensor: tf.Tensor) -> tf.TensorSpec:
            shape = [None] * min(tensor.shape.rank, 2) + tensor.shape[2:]
            return tf.TensorSpec(tensor.shape if self.jit_compile else shape, tensor.dtype)

        seed = tf.TensorSpec(prompt.seed.shape, prompt.seed.dtype)
        return tf.nest.map_structure(spec, prompt)._replace(seed=seed)


def _check_together(
    model: Any, settings: GenerationConfig, assistant_model: Any, streamer: Any, tokenizer: Any
) -> None:
    """Refuse arguments that do not go together."""
    if settings.stop_strings is not None and tokenizer is None:
        raise ValueError("stop_strings needs the tokenizer: generate(…, tokenizer=tokenizer)")
    if streamer is not None and max(settings.num_beams, settings.num_return_sequences) > 1:
        raise ValueError(
            "a streamer cannot be used with beam search or several sequences for a prompt: "
            "set num_beams=1 and num_return_sequences=1"
        )
    if assistant_model is None:
        return
    if settings.num_beams > 1 or is_contrastive(settings):
        raise ValueError(
            "an assistant_model helps greedy search and sampling alone: set num_beams=1"
        )
    theirs, ours = (each.config.get_text_config().vocab_size for each in (assistant_model, model))
    if theirs != ours:
        raise ValueError(
            "assistant_model must have the model's vocabulary, but it knows "
            f"{theirs} tokens, and the model {ours}"
        )


def _round_up(columns: int) -> int:
    return -(-columns // XLA_COLUMNS) * XLA_COLUMNS


def _prompt_tensors(
    model: Any, settings: GenerationConfig, named: dict[str, Any]
) -> tuple[tf.Tensor, tf.Tensor, dict[str, Any]]:
    """Return the prompt, its mask, and the model's other inputs, all checked."""
    known = [name for name in model.input_names if name not in OWN_INPUTS]
    unknown = [name for name in named if name not in known]
    if unknown:
        raise ValueError(
            f"The following arguments are not used by the model: {unknown} "
            "(note: typos in the generate arguments will also show up in this list)"
        )
    named = {
        name: tf.convert_to_tensor(value) for name, value in named.items() if value is not None
    }
    input_ids = named.pop("input_ids", None)
    attention_mask = named.pop("attention_mask", None)
    if input_ids is None:
        if settings.bos_token_id is None:
            raise ValueError("`bos_token_id` has to be defined when no `input_ids` are provided.")
        input_ids = tf.constant([[settings.bos_token_id]])
    if input_ids.shape.rank != 2 or not input_ids.dtype.is_integer:
        raise ValueError(
            "input_ids must be integers [batch, length], but they are "
            f"{input_ids.dtype.name} {input_ids.shape}"
        )
    if input_ids.shape[1] == 0:
        raise ValueError(f"input_ids must have at least one column, but are {input_ids.shape}")
    input_ids = tf.cast(input_ids, tf.int32)
    if attention_mask is None:
        attention_mask = _guess_mask(input_ids, settings)
    elif not attention_mask.shape.is_compatible_with(input_ids.shape):
        raise ValueError(
            f"attention_mask must have the shape of input_ids, {input_ids.shape}, "
            f"but has {attention_mask.shape}"
        )
    attention_mask = tf.cast(attention_mask, tf.int32)
    if tf.executing_eagerly() and input_ids.shape[1] and np.any(attention_mask[:, -1] == 0):
        logger.warning(
            "A decoder-only architecture is being used, but right-padding was detected! For "
            "correct generation results, please set `padding_side='left'` when initializing the "
            "tokenizer."
        )
    return input_ids, attention_mask, named


def _guess_mask(input_ids: tf.Tensor, settings: GenerationConfig) -> tf.Tensor:
    """Return 0 for padding where that is known: a token that does not end a sequence, too."""
    padding = settings.pad_token_id
    if padding is None or padding in np.ravel(settings.eos_token_id):
        return tf.ones_like(input_ids)
    is_padding = input_ids == padding
    return tf.cast(tf.logical_not(is_padding), tf.int32)


def _limit(model: Any, settings: GenerationConfig, length: Any) -> Any:
    if isinstance(length, int):
        return token_limit(settings, length, model.max_length, argument="input_ids")
    limit = settings.max_length
    if settings.max_new_tokens is not None:
        limit = length + settings.max_new_tokens
    if model.max_length is not None:
        limit = tf.minimum(limit, model.max_length)
    message = ["input_ids must have fewer columns than may be in the end,", limit, "but have"]
    return require(length < limit, [*message, length], tf.convert_to_tensor(limit))


def _seed(seed: Any) -> tf.Tensor:
    if seed is None:  # a new one, which `keras.utils.set_random_seed` makes repeatable
        return tf.random.uniform([2], 0, 2**31 - 1, tf.int32)
    seed = tf.cast(tf.reshape(seed, [-1]), tf.int32)
    if seed.shape[0] == 1:
        return tf.concat([seed, [0]], axis=0)
    if seed.shape[0] != 2:
        raise ValueError(f"seed must be an integer or two, but has the shape {seed.shape}")
    return seed


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
