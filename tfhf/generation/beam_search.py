"""Beam search and beam sampling: the best sequences, of several that are followed for each prompt.

Reference: ``transformers.generation.utils.GenerationMixin._beam_search``, whose numbers these are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfhf.generation.search import Prompt, Search, column, gumbel, is_end, put_column
from tfhf.layers.cache import BeamKeyValues, KeyValues, map_own, repeat_places, repeat_rows

#: The score of what is no sequence; finite, so that nothing becomes NaN.
NONE = -1e9
#: So many scores, or more, are searched together.
PIECE = 256


class Beams(NamedTuple):
    """Sequences of each prompt, the best first.

    ``input_ids`` [batch, beams, room]; ``scores`` [batch, beams]; ``origins`` int32 [batch, beams,
    steps]: the row (of batch * beams) whose continuation each new token was, -1 where there is
    none; ``ended`` bool [batch, beams]: no continuation is wanted.
    """

    input_ids: tf.Tensor
    scores: tf.Tensor
    origins: tf.Tensor
    ended: tf.Tensor

    def best(self, count: int) -> Beams:
        """Return those with the highest scores."""
        return self.take(tf.math.top_k(self.scores, count).indices)

    def take(self, indices: tf.Tensor) -> Beams:
        """Return those that ``indices`` [batch, count] name, in this order."""
        return Beams(*(tf.gather(part, indices, batch_dims=1) for part in self))


class BeamState(NamedTuple):
    """Where a beam search is; ``length`` columns of the beams' ``input_ids`` are written.

    ``running``: the beams that are followed, their scores being log-probabilities; ``found``:
    complete sequences, their scores being penalised for length; ``improvable`` bool [batch]:
    running beams may still become better than those; ``stuck``: no beam can be followed.
    """

    length: tf.Tensor
    running: Beams
    found: Beams
    improvable: tf.Tensor
    stuck: tf.Tensor
    cache: Any
    scores: Any


class BeamSearch(Search):
    """Beam search, and with ``do_sample`` beam sampling."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.beams = self.settings.num_beams
        # So many that enough can be followed if the tokens that end a sequence are the best ones.
        ends = self.settings.eos_token_id
        self.candidates = max(2, 1 + (0 if ends is None else int(np.size(ends)))) * self.beams

    def start(self, prompt: Prompt) -> BeamState:
        """Read the prompts, once each, and choose the first tokens of their beams."""
        logits, cache = self.read_prompt(prompt)
        input_ids = self.by_prompt(self.first_ids(prompt))
        shape = tf.shape(input_ids)[:2]
        steps = prompt.max_length - prompt.length if self.room is None else self.room
        beams = Beams(
            input_ids,
            tf.fill(shape, NONE),
            tf.fill(tf.concat([shape, [steps]], axis=0), -1),
            tf.zeros(shape, tf.bool),
        )
        # All beams are the same yet: only the first is followed, for all would say the same.
        scores = beams.scores * tf.cast(tf.range(self.beams) > 0, tf.float32)
        state = BeamState(
            length=prompt.length,
            running=beams._replace(scores=scores),
            found=beams,
            improvable=tf.ones(shape[:1], tf.bool),
            stuck=tf.constant(False),
            cache=cache,
            scores=self.first_scores(prompt, logits),
        )
        return self.choose(state, logits, prompt)

    def running(self, state: BeamState, prompt: Prompt) -> tf.Tensor:
        """Whether to go on."""
        running = tf.reduce_any(state.improvable) & tf.logical_not(state.stuck)
        if self.settings.early_stopping is True:
            running &= tf.logical_not(tf.reduce_all(state.found.ended))
        return running

    def step(self, state: BeamState, prompt: Prompt) -> BeamState:
        """Read the last token of each beam and choose the next."""
        position = state.length - 1
        last = tf.reshape(column(state.running.input_ids, position), [-1, 1])
        cache = self.inherited_cache(state, prompt)
        logits, cache = self.read_tokens(last, cache, position, prompt)
        return self.choose(state._replace(cache=cache), logits[:, 0], prompt)

    def repeat_cache(self, cache: Any) -> Any:
        """Return a cache for all beams of each prompt: see `BeamKeyValues`."""

        def repeat(own: Any) -> Any:
            of_keys = isinstance(own, KeyValues)
            return (repeat_places if of_keys else repeat_rows)(own, self.beams)

        return map_own(repeat, cache)

    def inherited_cache(self, state: BeamState, prompt: Prompt) -> Any:
        """Return the cache as those see it that the beams have become."""
        origins = state.running.origins
        # A token was read by the beam that the next one continues; the last is read by its own.
        steps = tf.range(self.room_for(prompt)) + 1 - prompt.length
        is_new = (steps > 0) & (steps < tf.shape(origins)[2])
        readers = tf.gather(origins, tf.where(is_new, steps, 0), axis=2)
        own_beam = tf.range(self.beams)[:, None]
        owners = tf.where(is_new & (readers >= 0), tf.truncatemod(readers, self.beams), own_beam)
        rows = tf.reshape(column(origins, state.length - 1 - prompt.length), [-1])

        def inherit(own: Any) -> Any:
            of_keys = isinstance(own, KeyValues)
            return BeamKeyValues(own.key, own.value, owners) if of_keys else tf.gather(own, rows)

        return map_own(inherit, state.cache)

    def choose(self, state: BeamState, logits: tf.Tensor, prompt: Prompt) -> BeamState:
        """Write the next token of each beam, and set aside the sequences that it completes."""
        input_ids, log_probs = as_rows(state.running.input_ids), tf.nn.log_softmax(logits)
        scores, state = self.process(input_ids, log_probs, state, prompt)
        candidates = self.continuations(state, scores, prompt)
        length = state.length + 1
        ended = is_end(column(candidates.input_ids, state.length), self.settings)
        ended |= length >= prompt.max_length
        if self.criterion is not None:
            complete = self.criterion(as_rows(candidates.input_ids), length)
            ended |= tf.reshape(complete, [-1, self.candidates])
        running = candidates._replace(scores=candidates.scores + tf.where(ended, NONE, 0.0))
        running = running.best(self.beams)
        # The candidates beyond the first are there to be followed, not to be complete.
        is_first = tf.range(self.candidates) < self.beams
        candidates = candidates._replace(ended=ended & is_first)
        found = self.update(state, candidates, length - prompt.length)
        improvable = state.improvable & self.can_improve(running, found, length, prompt)
        return state._replace(
            length=length,
            running=running,
            found=found,
            improvable=improvable,
            stuck=tf.reduce_all(ended),
        )

    def continuations(self, state: BeamState, scores: tf.Tensor, prompt: Prompt) -> Beams:
        """Return the best continuations of all beams, [batch, candidates].

        ``scores`` [rows, vocab_size] are those of the next token.
        """
        scores = self.by_prompt(scores) + state.running.scores[..., None]
        order = scores
        if self.settings.do_sample:  # the highest with noise are draws without replacement
            shape = tf.shape(scores)
            step = state.length - prompt.length
            noise = gumbel(tf.stack([shape[0], shape[1] * shape[2]]), prompt.seed, step)
            order += tf.reshape(noise, shape)
        beams, tokens = highest(order, self.candidates)
        rows = tf.range(tf.shape(beams)[0])[:, None] * self.beams + beams
        candidates = state.running.take(beams)
        return candidates._replace(
            input_ids=put_column(candidates.input_ids, tokens, state.length),
            scores=tf.gather_nd(scores, tf.stack([beams, tokens], axis=-1), batch_dims=1),
            origins=put_column(candidates.origins, rows, state.length - prompt.length),
        )

    def update(self, state: BeamState, candidates: Beams, new_tokens: tf.Tensor) -> Beams:
        """Return the best complete sequences, those among ``candidates`` included."""
        wanted = state.improvable
        if self.settings.early_stopping is True:
            wanted &= tf.logical_not(tf.reduce_all(state.found.ended, axis=1))
        scores = candidates.scores / self.penalty(new_tokens)
        scores = tf.where(candidates.ended & wanted[:, None], scores, NONE)
        both = zip(state.found, candidates._replace(scores=scores))
        return Beams(*(tf.concat(parts, axis=1) for parts in both)).best(self.beams)

    def can_improve(
        self, running: Beams, found: Beams, length: tf.Tensor, prompt: Prompt
    ) -> tf.Tensor:
        """Whether the best running beam may become better than the worst complete sequence.

        That is a guess: how long the beam will be is not known, and ``early_stopping`` says what
        to expect: ``False``, that it ends now; ``"never"``, what is best for it.
        """
        if self.settings.early_stopping == "never" and self.settings.length_penalty > 0:
            length = prompt.max_length
        best = running.scores[:, :1] / self.penalty(length - prompt.length)
        worst = tf.reduce_min(found.scores, axis=1, keepdims=True)
        return tf.reduce_any(best > tf.where(found.ended, worst, NONE), axis=1)

    def penalty(self, new_tokens: tf.Tensor) -> tf.Tensor:
        """Return what the log-probability of so many tokens is divided by."""
        return tf.cast(
            tf.cast(new_tokens, tf.float64) ** float(self.settings.length_penalty), tf.float32
        )

    def by_prompt(self, rows: tf.Tensor) -> tf.Tensor:
        """Return [batch * beams, …] as [batch, beams, …]."""
        shape = tf.concat([[-1, self.beams], tf.shape(rows)[1:]], axis=0)
        return tf.ensure_shape(tf.reshape(rows, shape), [None, self.beams, *rows.shape[1:]])

    def finish(self, state: BeamState, prompt: Prompt) -> dict[str, Any]:
        """Return the best sequences; ``length`` and ``steps`` say how many columns are real."""
        count = self.settings.num_return_sequences
        origins = as_rows(state.found.origins[:, :count])
        longest = tf.reduce_max(tf.reduce_sum(tf.cast(origins >= 0, tf.int32), axis=1))
        outputs = {
            "sequences": as_rows(state.found.input_ids[:, :count]),
            "length": prompt.length + longest,
            "steps": state.length - prompt.length,
            "sequences_scores": tf.reshape(state.found.scores[:, :count], [-1]),
            "beam_indices": origins,
        }
        return outputs | ({"scores": state.scores} if self.settings.output_scores else {})


def as_rows(beams: tf.Tensor) -> tf.Tensor:
    """Return [batch, beams, columns] as [batch * beams, columns]."""
    return tf.reshape(beams, [-1, tf.shape(beams)[2]])


def highest(scores: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return which of ``scores`` [rows, beams, vocab_size] are the highest, the best first.

    So many are in as many pieces at most, those with the highest maxima; only these are searched.

    Returns:
        Beams and tokens, int32 [rows, count] each. Of equal scores, those that come first.
    """
    _, beams, vocab_size = scores.shape
    size = min(vocab_size, max(PIECE, count))
    whole = vocab_size - vocab_size % size
    # No padding: to write all scores once more would take longer than this.
    maxima = tf.reduce_max(tf.reshape(scores[..., :whole], [-1, beams, whole // size, size]), 3)
    if whole < vocab_size:
        maxima = tf.concat([maxima, tf.reduce_max(scores[..., whole:], 2, keepdims=True)], 2)
    pieces = maxima.shape[2]
    maxima = tf.reshape(maxima, [-1, beams * pieces])
    best = tf.sort(tf.math.top_k(maxima, min(count, beams * pieces)).indices)[..., None]
    # Not `//`, which looks at signs: of the long expression XLA would compile for minutes.
    beam = tf.truncatediv(best, pieces)
    token = (best - beam * pieces) * size + tf.range(size)
    beam = tf.broadcast_to(beam, tf.shape(token))
    indices = tf.stack([beam, tf.minimum(token, vocab_size - 1)], axis=3)
    searched = tf.where(token < vocab_size, tf.gather_nd(scores, indices, batch_dims=1), -np.inf)
    flat = [-1, best.shape[1] * size]
    chosen = tf.math.top_k(tf.reshape(searched, flat), count).indices
    beam, token = (tf.gather(tf.reshape(x, flat), chosen, batch_dims=1) for x in (beam, token))
    return beam, token
