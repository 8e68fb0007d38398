"""What the ways of searching for the next tokens share.

Each is a class with four methods: ``start(prompt)`` reads the prompt, ``running(state, prompt)``
says whether to go on, ``step(state, prompt)`` does so, ``finish(state, prompt)`` says what was
found. All work on tensors of fixed shapes, so that a ``tf.while_loop`` can hold them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
from transformers import GenerationConfig

from tfhf.generation.logits_processor_list import Processor
from tfhf.layers.cache import empty, map_own, repeat_rows, write

#: Whether rows are complete: (input_ids, cur_len) -> bool [rows].
Criterion = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Prompt(NamedTuple):
    """What generation goes on from.

    ``input_ids`` and ``attention_mask`` int32 [batch, columns], of which the first ``length`` (a
    scalar) are the prompt; for an encoder-decoder those of the target. ``max_length``: where to
    stop; ``seed``: int32 [2], or [batch, 2]; ``inputs``: others of the model, by name;
    ``source_length``: how many columns of the source, if it is there, are no filling.
    """

    input_ids: tf.Tensor
    attention_mask: tf.Tensor
    length: tf.Tensor
    max_length: tf.Tensor
    seed: tf.Tensor
    inputs: dict[str, tf.Tensor]
    source_length: tf.Tensor


class Search:
    """What all searches are made of.

    Args:
        model: scores the next token.
        settings: what is asked for.
        make_processors: makes the logits processors of a prompt.
        criterion: ends rows before ``max_length``, beside the tokens that end a sequence.
        room: columns of the buffers; ``None``: as many as ``max_length`` says.
    """

    def __init__(
        self,
        model: Any,
        settings: GenerationConfig,
        make_processors: Callable[[Prompt], Processor],
        criterion: Criterion | None,
        room: int | None,
    ) -> None:
        self.model = model
        self.settings = settings
        self.make_processors = make_processors
        self.criterion = criterion
        self.room = room
        self.rows_per_prompt = rows_per_prompt(settings)

    def room_for(self, prompt: Prompt) -> tf.Tensor | int:
        """Return how many columns buffers have."""
        return prompt.max_length if self.room is None else self.room

    def first_ids(self, prompt: Prompt) -> tf.Tensor:
        """Return the prompts [rows, room], with padding where tokens will come."""
        pad = self.settings.pad_token_id or 0
        room = self.room_for(prompt)
        more = [[0, 0], [0, room - tf.shape(prompt.input_ids)[1]]]
        input_ids = tf.where(tf.range(room) < prompt.length, tf.pad(prompt.input_ids, more), pad)
        return repeat_rows(input_ids, self.rows_per_prompt)

    def first_scores(self, prompt: Prompt, logits: tf.Tensor) -> Any:
        """Return room for the scores [rows, vocab_size] of all steps, if they are asked for."""
        if not self.settings.output_scores:
            return ()
        steps = prompt.max_length - prompt.length if self.room is None else self.room
        return empty([steps, tf.shape(logits)[0], logits.shape[1]], tf.float32)

    def process(
        self, input_ids: tf.Tensor, logits: tf.Tensor, state: Any, prompt: Prompt
    ) -> tuple[tf.Tensor, Any]:
        """Return ``logits`` [rows, vocab_size] processed, and the state, which may keep them."""
        scores = self.make_processors(prompt)(input_ids, logits, state.length)
        if self.settings.output_scores:
            step = state.length - prompt.length
            state = state._replace(scores=write(state.scores, scores, step))
        return scores, state

    def read_prompt(self, prompt: Prompt) -> tuple[tf.Tensor, Any]:
        """Return the logits [rows, vocab_size] of the first tokens, and the cache."""
        logits, cache = self.model.read_prompt(
            prompt.input_ids,
            prompt.attention_mask,
            prompt.length,
            self.room_for(prompt),
            **prompt.inputs,
        )
        return repeat_rows(logits, self.rows_per_prompt), self.repeat_cache(cache)

    def repeat_cache(self, cache: Any) -> Any:
        """Return a cache for all the sequences of each prompt, which share an encoder's part."""
        return map_own(lambda own: repeat_rows(own, self.rows_per_prompt), cache)

    def read_tokens(
        self, input_ids: tf.Tensor, cache: Any, position: tf.Tensor, prompt: Prompt
    ) -> tuple[tf.Tensor, Any]:
        """Return the logits [rows, new, vocab_size] after ``input_ids`` [rows, new], and the cache.

        ``position`` is the column of the first.
        """
        mask = repeat_rows(later_mask(prompt), self.rows_per_prompt)
        inputs = later_inputs(prompt, self.rows_per_prompt)
        return self.model.read_tokens(input_ids, cache, mask, position, **inputs)

    def running(self, state: Any, prompt: Prompt) -> tf.Tensor:
        """Whether there is a sequence to go on with."""
        return (state.length < prompt.max_length) & ~tf.reduce_all(state.finished)

    def append(self, state: Any, tokens: tf.Tensor) -> Any:
        """Write ``tokens`` [rows] as the next ones, padding where a row is finished."""
        if self.settings.pad_token_id is not None:
            tokens = tf.where(state.finished, self.settings.pad_token_id, tokens)
        input_ids = put_column(state.input_ids, tokens, state.length)
        length = state.length + 1
        finished = state.finished | is_end(tokens, self.settings)
        if self.criterion is not None:
            finished |= self.criterion(input_ids, length)
        return state._replace(input_ids=input_ids, length=length, finished=finished)

    def finish(self, state: Any, prompt: Prompt) -> dict[str, Any]:
        """Return what was found; ``length`` and ``steps`` say how much of it is real."""
        found = {
            "sequences": state.input_ids,
            "length": state.length,
            "steps": state.length - prompt.length,
        }
        return found | ({"scores": state.scores} if self.settings.output_scores else {})


def rows_per_prompt(settings: GenerationConfig) -> int:
    """Return how many sequences of each prompt are followed at a time."""
    return max(settings.num_beams, settings.num_return_sequences)


def later_mask(prompt: Prompt) -> tf.Tensor:
    """Return the prompt's mask, with tokens to be seen in place of what fills a prompt up."""
    fills_up = tf.range(tf.shape(prompt.attention_mask)[1]) >= prompt.length
    return tf.where(fills_up, 1, prompt.attention_mask)


def later_inputs(prompt: Prompt, rows: int) -> dict[str, tf.Tensor]:
    """Return the model's other inputs for tokens after the prompt.

    Of what is for its own tokens, that is for ``rows`` times each row.
    """
    inputs = dict(prompt.inputs)
    inputs.pop("inputs_embeds", None)
    if "token_type_ids" in inputs:  # that of the last token
        last = column(inputs["token_type_ids"], prompt.length - 1)[:, None]
        inputs["token_type_ids"] = repeat_rows(last, rows)
    return inputs


def has_ids(prompt: Prompt) -> bool:
    """Whether the prompt is tokens, not the vectors of some: ``inputs_embeds`` of a decoder."""
    has_encoder = "attention_mask" in prompt.inputs
    return has_encoder or "inputs_embeds" not in prompt.inputs


def source_ids(prompt: Prompt) -> tf.Tensor | None:
    """Return the ids of what is continued, or of an encoder's source, -1 where there is filling.

    ``None``: the source is no ids.
    """
    has_encoder = "attention_mask" in prompt.inputs
    ids = prompt.inputs.get("input_ids") if has_encoder else prompt.input_ids
    if ids is None:
        return None
    return tf.where(tf.range(tf.shape(ids)[1]) < prompt.source_length, ids, -1)


def is_end(tokens: tf.Tensor, settings: GenerationConfig) -> tf.Tensor:
    """Whether tokens, of any shape, are among those that end a sequence."""
    if settings.eos_token_id is None:
        return tf.zeros_like(tokens, tf.bool)
    ends = tf.reshape(tf.constant(settings.eos_token_id, tf.int32), [-1])
    return tf.reduce_any(tokens[..., None] == ends, axis=-1)


def column(ids: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """Return column ``position`` of ``ids`` [..., columns]."""
    return tf.gather(ids, position, axis=-1)


def put_column(ids: tf.Tensor, tokens: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """Return ``ids`` [..., columns] with ``tokens`` [...] in column ``position``."""
    return tf.where(tf.range(tf.shape(ids)[-1]) == position, tokens[..., None], ids)


def gumbel(shape: tf.Tensor, seed: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Return noise [rows, columns], the same for the same seed and step, with XLA and without.

    Where scores with noise are highest is a draw in proportion to exp(scores); the highest of them
    are as many draws, each from what the earlier ones left (Gumbel, 1954).

    ``seed`` is int32 [2], or [prompts, 2]: the rows of a prompt get what they would get alone.
    """

    def random_bits(seed: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
        # tf.random.stateless_uniform makes other keys of a seed under XLA.
        return tf.raw_ops.StatelessRandomUniformFullIntV2(
            shape=shape,
            key=tf.bitcast(seed, tf.uint64)[None],
            counter=tf.cast(tf.stack([0, step]), tf.uint64),  # the first counts on within a step
            alg=tf.random.Algorithm.PHILOX.value,
            dtype=tf.uint32,
        )

    if seed.shape.rank == 1:
        bits = random_bits(seed, shape)
    else:
        rows = shape[0] // tf.maximum(tf.shape(seed)[0], 1)
        own = [rows, shape[1]]
        seeds = tf.pad(seed, [[0, 1], [0, 0]])  # of no results, map_fn would not know the shape
        bits = tf.map_fn(lambda one: random_bits(one, own), seeds, fn_output_signature=tf.uint32)
        bits = tf.reshape(bits[:-1], shape)
    # 23 bits and a half are exact in float32: never 0, never 1, whose noise would be infinite.
    uniform = (tf.cast(tf.bitwise.right_shift(bits, 9), tf.float32) + 0.5) * 2.0**-23
    return -tf.math.log(-tf.math.log(uniform))
