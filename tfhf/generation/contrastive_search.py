"""Contrastive search: of the likeliest next tokens, one that is unlike what there is.

Su et al. (2022), "A Contrastive Framework for Neural Text Generation",
https://arxiv.org/abs/2202.06417. Reference: ``TFGenerationMixin.contrastive_search`` of
Transformers 4.57; but padding is not what a token is compared with.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfhf.generation.search import Prompt, Search, later_inputs, later_mask
from tfhf.layers.cache import map_own, repeat_rows, take_rows_at


class ContrastiveState(NamedTuple):
    """Where a contrastive search is; the first fields are those of `TokenState`.

    ``cache`` has ``top_k`` rows for each sequence, one for each candidate; ``logits`` [rows,
    vocab_size]: those of the next token; ``directions`` float32 [rows, room, size]: the states of
    all tokens, their norms being 1.
    """

    input_ids: tf.Tensor
    length: tf.Tensor
    finished: tf.Tensor
    cache: Any
    scores: Any
    logits: tf.Tensor
    directions: tf.Tensor


class ContrastiveSearch(Search):
    """Contrastive search among ``top_k`` candidates, with ``penalty_alpha`` against likeness."""

    def start(self, prompt: Prompt) -> ContrastiveState:
        """Read the prompt."""
        room = self.room_for(prompt)
        states, cache = self.model.prompt_states(
            prompt.input_ids, prompt.attention_mask, room, **prompt.inputs
        )
        logits = self.model.score(tf.gather(states, [prompt.length - 1], axis=1))[:, 0]
        directions = tf.pad(direction(states), [[0, 0], [0, room - tf.shape(states)[1]], [0, 0]])
        return ContrastiveState(
            input_ids=self.first_ids(prompt),
            length=prompt.length,
            finished=tf.zeros([tf.shape(logits)[0]], tf.bool),
            cache=map_own(lambda own: repeat_rows(own, self.settings.top_k), cache),
            scores=self.first_scores(prompt, logits),
            logits=logits,
            directions=directions,
        )

    def step(self, state: ContrastiveState, prompt: Prompt) -> ContrastiveState:
        """Read the candidates for the next token of each row, and choose one."""
        count = self.settings.top_k
        scores, state = self.process(state.input_ids, state.logits, state, prompt)
        probabilities, candidates = tf.math.top_k(tf.nn.softmax(scores), count)
        states, cache = self.model.token_states(
            tf.reshape(candidates, [-1, 1]),
            state.cache,
            repeat_rows(later_mask(prompt), count),
            state.length,
            **later_inputs(prompt, count),
        )
        states = tf.reshape(states, [-1, count, states.shape[-1]])
        alpha = self.settings.penalty_alpha
        likeness = self.likeness(direction(states), state, prompt)
        chosen = tf.argmax(
            (1 - alpha) * probabilities - alpha * likeness, axis=-1, output_type=tf.int32
        )
        states = tf.gather(states, chosen[:, None], batch_dims=1)
        rows = tf.range(tf.shape(chosen)[0]) * count + chosen
        is_new = tf.range(tf.shape(state.input_ids)[1])[:, None] == state.length
        state = state._replace(
            cache=take_rows_at(cache, tf.repeat(rows, count), state.length),
            logits=self.model.score(states)[:, 0],
            directions=tf.where(is_new, direction(states), state.directions),
        )
        return self.append(state, tf.gather(candidates, chosen, batch_dims=1))

    def likeness(self, directions: tf.Tensor, state: ContrastiveState, prompt: Prompt) -> tf.Tensor:
        """Return the cosines of candidates and the tokens that are most like them, [rows, top_k].

        ``directions`` [rows, top_k, size] are those of the candidates.
        """
        cosines = tf.matmul(directions, state.directions, transpose_b=True)
        room, columns = tf.shape(cosines)[2], tf.shape(prompt.attention_mask)[1]
        more = [[0, 0], [0, room - columns]]
        seen = tf.pad(later_mask(prompt), more, constant_values=1) > 0
        seen &= tf.range(room) < state.length
        return tf.reduce_max(tf.where(seen[:, None], cosines, -1.0), axis=-1)


def direction(states: tf.Tensor) -> tf.Tensor:
    """Return float32 vectors of norm 1."""
    return tf.nn.l2_normalize(tf.cast(states, tf.float32), axis=-1, epsilon=1e-30)
