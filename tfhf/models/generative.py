"""How a model that scores the next token reads: a prompt, then the tokens that follow."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfhf.layers import LanguageModelingHead
from tfhf.layers.cache import make_room
from tfhf.modeling import TFPreTrainedModel


class TFGenerativeModel(TFPreTrainedModel):
    """What `tfhf.generation` asks of a model.

    Here a decoder reads; for an encoder-decoder see `TFForConditionalGeneration`.
    """

    can_generate = True
    lm_head: LanguageModelingHead

    def read_prompt(
        self,
        input_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        length: tf.Tensor,
        room: tf.Tensor | int,
        /,
        **inputs: Any,
    ) -> tuple[tf.Tensor, Any]:
        """Read what generation goes on from.

        Args:
            input_ids: int [rows, columns], of which the first ``length`` are the prompt; not read
                where ``inputs`` have its vectors: ``inputs_embeds``.
            attention_mask: int [rows, columns], 0 for padding at the left.
            length: int scalar.
            room: columns that there will be.
            **inputs: other inputs of the body.

        Returns:
            The scores of the next token, float32 [rows, vocab_size], and the cache.
        """
        states, cache = self.prompt_states(input_ids, attention_mask, room, **inputs)
        return self.score(tf.gather(states, [length - 1], axis=1))[:, 0], cache

    def prompt_states(
        self,
        input_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        room: tf.Tensor | int,
        /,
        **inputs: Any,
    ) -> tuple[tf.Tensor, Any]:
        """Return the states [rows, columns, size] of tokens, and the cache; see `read_prompt`."""
        if "position_ids" in self.input_names:
            counted = tf.cumsum(attention_mask, axis=1) + (self.first_position - 1)
            inputs["position_ids"] = tf.maximum(counted, self.first_position)
        if "inputs_embeds" not in inputs:
            inputs["input_ids"] = input_ids
        body = self.base_model(
            attention_mask=attention_mask, use_cache=True, return_dict=True, **inputs
        )
        return body.last_hidden_state, make_room(body.past_key_values, room)

    def read_tokens(
        self,
        input_ids: tf.Tensor,
        cache: Any,
        attention_mask: tf.Tensor,
        position: tf.Tensor,
        /,
        **inputs: Any,
    ) -> tuple[tf.Tensor, Any]:
        """Read the tokens that follow.

        Args:
            input_ids: int [rows, new].
            cache: what reading the tokens before returned.
            attention_mask: that of the prompt; what follows it is no padding.
            position: the column of the first new token.
            **inputs: other inputs of the body. Those from an encoder, and what the cache has of
                them, may have fewer rows, each of which is for several rows of ``input_ids``.

        Returns:
            The scores of the tokens after the new ones, float32 [rows, new, vocab_size], and the
            cache.
        """
        states, cache = self.token_states(input_ids, cache, attention_mask, position, **inputs)
        return self.score(states), cache

    def token_states(
        self,
        input_ids: tf.Tensor,
        cache: Any,
        attention_mask: tf.Tensor,
        position: tf.Tensor,
        /,
        **inputs: Any,
    ) -> tuple[tf.Tensor, Any]:
        """Return the states [rows, new, size] of the tokens, and the cache: see `read_tokens`."""
        if "position_ids" in self.input_names:
            # As far from the column as at the prompt's end: so many are padding.
            columns = tf.shape(attention_mask)[1]
            padding = columns - tf.reduce_sum(attention_mask, axis=1, keepdims=True)
            new = tf.range(tf.shape(input_ids)[1])[None]
            start = position + self.first_position
            inputs["position_ids"] = tf.maximum(start + new - padding, self.first_position)
        body = self.base_model(
            input_ids=input_ids,
            past_key_values=cache,
            attention_mask=mask_of_cache(attention_mask, cache),
            cache_position=position,
            use_cache=True,
            return_dict=True,
            **inputs,
        )
        return body.last_hidden_state, body.past_key_values

    def score(self, states: tf.Tensor) -> tf.Tensor:
        """Return the scores [rows, length, vocab_size] of the token after each state."""
        return self.lm_head(states, embeddings=self.get_input_embeddings())


def mask_of_cache(attention_mask: tf.Tensor, cache: Any) -> tf.Tensor:
    """Return the mask of a prompt with ones for all other columns that the cache has room for."""
    more = cache[0][0].length - tf.shape(attention_mask)[1]
    return tf.pad(attention_mask, [[0, 0], [0, more]], constant_values=1)
