"""Assisted decoding: a small model guesses the next tokens, the large one reads them all at once.

Leviathan et al. (2023), "Fast Inference from Transformers via Speculative Decoding",
https://arxiv.org/abs/2211.17192. Here both models draw with the same noise, as Daliri et al. (2024)
propose (https://arxiv.org/abs/2408.07978): what comes out is what the large model alone chooses,
sampling included, and a batch goes on as far as the guesses of all its rows are right.
"""

from __future__ import annotations

import copy
from typing import Any

import tensorflow as tf

from tfhf.generation.search import Prompt, column
from tfhf.generation.token_search import TokenSearch, TokenState


class GuessSearch(TokenSearch):
    """What the assistant does."""

    def guess(self, state: TokenState, end: tf.Tensor, prompt: Prompt) -> TokenState:
        """Return the state with guesses up to column ``end``, or fewer."""
        if self.model.max_length is not None:
            end = tf.minimum(end, self.model.max_length)
        (guessed,) = tf.while_loop(
            lambda state: (state.length < end) & ~tf.reduce_all(state.finished),
            lambda state: (self.step(state, prompt),),
            (state._replace(scores=()),),
            parallel_iterations=1,
        )
        return guessed

    def step(self, state: TokenState, prompt: Prompt) -> TokenState:
        """Read the last two tokens of each row, for both may be the large model's; guess the next.

        An unlikely guess is the last one.
        """
        position = state.length - 2
        tokens = tf.gather(state.input_ids, position + tf.range(2), axis=1)
        logits, cache = self.read_tokens(tokens, state.cache, position, prompt)
        guessed = self.choose(state._replace(cache=cache), logits[:, 1], prompt)
        guesses = column(guessed.input_ids, state.length)
        confidence = tf.gather(tf.nn.softmax(logits[:, 1]), guesses, batch_dims=1)
        unsure = confidence < self.settings.assistant_confidence_threshold
        return guessed._replace(finished=guessed.finished | unsure)


class AssistedSearch(TokenSearch):
    """Greedy search and sampling with an assistant. The state's cache is that of both models.

    Args:
        *args: those of `Search`.
        assistant: a model with the same vocabulary.
    """

    def __init__(self, *args: Any, assistant: Any) -> None:
        super().__init__(*args)
        _, settings, *others = args
        settings = copy.copy(settings)
        settings.output_scores = False
        self.assistant = GuessSearch(assistant, settings, *others)
        self.guesses = settings.num_assistant_tokens

    def read_prompt(self, prompt: Prompt) -> tuple[tf.Tensor, Any]:
        """Let both models read; the logits are those of the large one."""
        logits, cache = super().read_prompt(prompt)
        return logits, (cache, self.assistant.read_prompt(prompt)[1])

    def step(self, state: TokenState, prompt: Prompt) -> TokenState:
        """Guess tokens, read them, and choose until a guess is wrong: one token or more.

        What the caches hold of wrong guesses is never seen, and overwritten later.
        """
        cache, guess_cache = state.cache
        start, width = state.length - 1, self.guesses + 1
        if self.room is not None:  # XLA wants a fixed width: near the end, begin earlier
            width = min(width, self.room - 1)  # the last column is never read
            start = tf.minimum(start, self.room - 1 - width)
        # The last token needs no guess.
        end = tf.minimum(start + width, prompt.max_length - 1)
        guessed = self.assistant.guess(state._replace(cache=guess_cache), end, prompt)
        if self.room is None:
            width = guessed.length - start
        guesses = guessed.input_ids
        tokens = tf.gather(guesses, start + tf.range(width), axis=1)
        logits, cache = self.read_tokens(tokens, cache, start, prompt)

        def going_on(state: TokenState, right: tf.Tensor) -> tf.Tensor:
            return right & (state.length - start <= width) & self.running(state, prompt)

        def choose(state: TokenState, right: tf.Tensor) -> tuple[TokenState, tf.Tensor]:
            row = tf.gather(logits, state.length - 1 - start, axis=1)
            chosen = self.choose(state, row, prompt)
            same = column(chosen.input_ids, state.length) == column(guesses, state.length)
            return chosen, tf.reduce_all(same | chosen.finished)

        chosen, _ = tf.while_loop(
            going_on, choose, (state._replace(cache=()), tf.constant(True)), parallel_iterations=1
        )
        return chosen._replace(cache=(cache, guessed.cache))
