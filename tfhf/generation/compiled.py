"""A search as compiled functions.

The prompt is read by TensorFlow's own graph in any case, for a prompt is matrix products, which
XLA does no better on a GPU and worse on a CPU, and would compile for each length. With
``jit_compile`` it is the loop that XLA compiles, once for each size of its buffers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import keras
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

from tfhf.generation.search import Prompt, has_ids
from tfhf.generation.token_search import TokenSearch
from tfhf.layers import Dense
from tfhf.layers.cache import compiling_with_xla
from tfhf.layers.packing import packing

#: Reading matrices that are laid out for few rows pays for so many steps at least, and so many rows
#: at most; and where all weights have, in bytes, more than caches hold and less than memory.
STEPS, ROWS, SMALLEST, LARGEST = 32, 32, 2**24, 2**31


def run(search: Any, prompt: Prompt) -> dict[str, Any]:
    """Search from beginning to end, as a part of the caller's graph."""
    state = search.start(prompt)
    if compiling_with_xla() or not can_pack(search.model):
        return go_on(search, state, prompt)
    rows = tf.shape(prompt.input_ids)[0] * search.rows_per_prompt
    return tf.cond(
        packing_pays(rows, prompt.max_length - prompt.length),
        lambda: go_on(search, state, prompt, packs=True),
        lambda: go_on(search, state, prompt),
    )


def can_pack(model: Any) -> bool:
    """Whether the model is of a size, and on a device, for which `packing` is made."""
    sizes = [tf.as_dtype(each.dtype).size * math.prod(each.shape) for each in model.weights]
    return SMALLEST <= sum(sizes) <= LARGEST and len(tf.config.list_logical_devices()) == 1


def packing_pays(rows: Any, steps: Any) -> Any:
    """Whether so many tokens of so many rows gain more than the new layout takes."""
    return (rows > 1) & (rows <= ROWS) & (steps >= STEPS)


def go_on(search: Any, state: Any, prompt: Prompt, packs: bool = False) -> dict[str, Any]:
    """Search on, from a state; with ``packs``, the loop's matrices are laid out for few rows."""
    step = _reading_bfloat16(search, state) if compiling_with_xla() else search.step
    with packing() if packs else nullcontext():
        (state,) = tf.while_loop(
            lambda state: search.running(state, prompt),
            lambda state: (step(state, prompt),),
            (state,),
            parallel_iterations=1,
        )
    return search.finish(state, prompt)


class CompiledSearch:
    """A search, compiled at its first call: the whole of it, or step by step for a streamer.

    Args:
        search: the search; it has a fixed ``room`` for XLA.
        jit_compile: whether to use XLA.
        named_by_id: kept, so that no other object gets the same id.
    """

    def __init__(self, search: Any, jit_compile: bool, named_by_id: tuple[Any, ...]) -> None:
        self.search = search
        self.named_by_id = named_by_id
        self.whole = tf.function(
            lambda prompt, packs: go_on(search, search.start(prompt), prompt, packs),
            autograph=False,
        )
        self.can_pack = can_pack(search.model)
        self.start = tf.function(search.start, autograph=False)
        self.rest = tf.function(
            lambda state, prompt: go_on(search, state, prompt), autograph=False, jit_compile=True
        )
        self.step = tf.function(search.step, autograph=False, jit_compile=jit_compile)
        self.jit_compile = jit_compile

    def run(self, prompt: Prompt, streamer: Any) -> dict[str, Any]:
        """Search; tell ``streamer``, if there is one, each token as it comes."""
        specs = _any_batch_and_length(prompt)
        if streamer is None and not self.jit_compile:
            rows = prompt.input_ids.shape[0] * self.search.rows_per_prompt
            steps = int(prompt.max_length - prompt.length)
            packs = self.can_pack and packing_pays(rows, steps)
            return self.whole.get_concrete_function(specs, packs)(prompt, packs)
        state = self.start.get_concrete_function(specs)(prompt)
        length = int(prompt.length)
        ids = prompt.input_ids[:, : length if has_ids(prompt) else 0]
        if self.jit_compile:
            prompt = _fill_up(prompt, self.search.room)
        if streamer is None:
            return self.rest(state, prompt)
        streamer.put(ids.numpy())
        while True:
            for column in range(length, int(state.length)):
                streamer.put(state.input_ids[:, column].numpy())
            length = int(state.length)
            if not self.search.running(state, prompt):
                break
            state = self.step(state, prompt)
        streamer.end()
        return self.search.finish(state, prompt)


def _any_batch_and_length(prompt: Prompt) -> Prompt:
    """Return what a function is traced for."""

    def spec(tensor: tf.Tensor) -> tf.TensorSpec:
        return tf.TensorSpec([None] * min(tensor.shape.rank, 2) + tensor.shape[2:], tensor.dtype)

    seed = tf.TensorSpec([None] * (prompt.seed.shape.rank - 1) + [2], prompt.seed.dtype)
    return tf.nest.map_structure(spec, prompt)._replace(seed=seed)


def _fill_up(prompt: Prompt, room: int | None) -> Prompt:
    """Return a prompt of ``room`` columns, behind ``length`` of which nothing counts."""
    more = [[0, 0], [0, room - tf.shape(prompt.input_ids)[1]]]
    inputs = dict(prompt.inputs)
    inputs.pop("inputs_embeds", None)  # they were read, and another length would compile anew
    if "token_type_ids" in inputs:
        inputs["token_type_ids"] = tf.pad(inputs["token_type_ids"], more)
    return prompt._replace(
        input_ids=tf.pad(prompt.input_ids, more),
        attention_mask=tf.pad(prompt.attention_mask, more),
        inputs=inputs,
    )


def _reading_bfloat16(search: Any, state: Any) -> Callable[[Any, Prompt], Any]:
    """Return the step of a search so that on a CPU it reads bfloat16 matrices as they are.

    XLA has no product of bfloat16 there: it would make float32 copies of all matrices before the
    loop, of which each step reads twice the bytes. For one row, a product is sums along the rows of
    the transposed matrix, with which XLA fuses the conversion. The barrier keeps that in the loop.
    """
    model = search.model
    dense = [layer for layer in model._flatten_layers() if isinstance(layer, Dense)]
    kernels = [layer.kernel for layer in dense if layer.kernel.dtype == "bfloat16"]
    one_row = type(search) is TokenSearch and state.finished.shape[0] == 1
    if not (kernels and one_row) or len(tf.config.list_logical_devices()) > 1:
        return search.step
    table = model.get_input_embeddings().embeddings
    turned = [tf.transpose(tf.convert_to_tensor(kernel)) for kernel in kernels]

    def step(state: Any, prompt: Prompt) -> Any:
        *values, rows, _ = xla.optimization_barrier(
            *turned, tf.convert_to_tensor(table), state.length
        )
        known = [(kernel, tf.transpose(value)) for kernel, value in zip(kernels, values)]
        with keras.StatelessScope(state_mapping=[*known, (table, rows)]):
            return search.step(state, prompt)

    return step
