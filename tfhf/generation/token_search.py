"""One token after the other for each sequence: the likeliest (greedy), or one drawn (sampling)."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfhf.generation.search import Prompt, Search, column, gumbel


class TokenState(NamedTuple):
    """Where a search is: ``input_ids`` [rows, room], of which ``length`` columns are written.

    ``finished`` bool [rows]; ``scores`` [steps, rows, vocab_size], or ``()`` if not asked for.
    """

    input_ids: tf.Tensor
    length: tf.Tensor
    finished: tf.Tensor
    cache: Any
    scores: Any


class TokenSearch(Search):
    """Greedy search, and with ``do_sample`` sampling."""

    def start(self, prompt: Prompt) -> TokenState:
        """Read the prompt and choose the first tokens."""
        logits, cache = self.read_prompt(prompt)
        finished = tf.zeros([tf.shape(logits)[0]], tf.bool)
        scores = self.first_scores(prompt, logits)
        state = TokenState(self.first_ids(prompt), prompt.length, finished, cache, scores)
        return self.choose(state, logits, prompt)

    def step(self, state: TokenState, prompt: Prompt) -> TokenState:
        """Read the last token of each row and choose the next."""
        position = state.length - 1
        last = column(state.input_ids, position)[:, None]
        logits, cache = self.read_tokens(last, state.cache, position, prompt)
        return self.choose(state._replace(cache=cache), logits[:, 0], prompt)

    def choose(self, state: TokenState, logits: tf.Tensor, prompt: Prompt) -> TokenState:
        """Write the next token of each row."""
        scores, state = self.process(state.input_ids, logits, state, prompt)
        if self.settings.do_sample:
            scores += gumbel(tf.shape(scores), prompt.seed, state.length - prompt.length)
        return self.append(state, tf.argmax(scores, axis=-1, output_type=tf.int32))
