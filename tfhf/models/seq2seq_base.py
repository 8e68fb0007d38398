"""What all classes of an encoder-decoder share, the body and those with a head."""

from __future__ import annotations

from typing import Any, ClassVar

import tensorflow as tf

from tfhf.layers import ClassificationHead, Embedding, LanguageModelingHead
from tfhf.layers.checks import require
from tfhf.losses import IGNORED
from tfhf.models.heads import Tensors, TFModelWithHead


class TFSeq2SeqPreTrainedModel(TFModelWithHead):
    """What the classes of an encoder-decoder share.

    A sequence is represented by the decoder's state at its last ``config.eos_token_id``.
    """

    input_names: ClassVar[tuple[str, ...]] = (
        "input_ids",
        "attention_mask",
        "decoder_input_ids",
        "decoder_attention_mask",
        "decoder_position_ids",
        "head_mask",
        "decoder_head_mask",
        "cross_attn_head_mask",
        "encoder_outputs",
        "past_key_values",
        "inputs_embeds",
        "decoder_inputs_embeds",
        "use_cache",
        "cache_position",
    )
    needs_pooler = False

    @property
    def max_source_length(self) -> int | None:
        """The number of tokens that the encoder has positions for; ``None``: any number.

        ``max_length`` is that of the decoder.
        """
        return self.max_length

    @property
    def dummy_inputs(self) -> Tensors:
        """A small batch to try the model with."""
        ids = tf.constant([[1, 2, 3], [0, 0, 1]])
        return {"input_ids": ids, "decoder_input_ids": ids}

    def get_input_embeddings(self) -> Embedding:
        """Return the table of the source's tokens, which may be the target's, too."""
        body = self.base_model
        return body.embeddings.token if body.shared is None else body.shared

    def get_decoder_embeddings(self) -> Embedding:
        """Return the table of the target's tokens."""
        body = self.base_model
        return body.decoder_embeddings.token if body.shared is None else body.shared

    def resize_token_embeddings(self, new_num_tokens: int | None = None) -> Embedding:
        """Have room for another number of tokens; see `TFPreTrainedModel`."""
        source = super().resize_token_embeddings(new_num_tokens)
        target = self.get_decoder_embeddings()
        if target.input_dim != source.input_dim:
            target.resize(source.input_dim)
        return source

    def shift_tokens_right(self, input_ids: tf.Tensor) -> tf.Tensor:
        """Return ids [batch, length] behind the token that a decoder starts from, without the last.

        Raises:
            ValueError: the configuration does not say which token that is.
        """
        config = self.config
        for name in ("decoder_start_token_id", "pad_token_id"):
            if getattr(config, name, None) is None:
                raise ValueError(f"config.{name} must be set to make decoder_input_ids")
        start = tf.fill([tf.shape(input_ids)[0], 1], config.decoder_start_token_id)
        shifted = tf.concat([tf.cast(start, input_ids.dtype), input_ids[:, :-1]], axis=1)
        return tf.where(shifted == IGNORED, tf.cast(config.pad_token_id, shifted.dtype), shifted)

    def prepare_decoder_input_ids_from_labels(self, labels: Any) -> tf.Tensor:
        """Return what the decoder reads to be asked for ``labels``, int [batch, length].

        Example:
            >>> from transformers import BartConfig
            >>> import tfhf
            >>> config = BartConfig(d_model=4, encoder_layers=1, decoder_layers=1, vocab_size=9,
            ...     encoder_attention_heads=1, decoder_attention_heads=1)
            >>> model = tfhf.TFBartForConditionalGeneration(config)
            >>> model.prepare_decoder_input_ids_from_labels([[5, 6, 2, -100]]).numpy()
            array([[2, 5, 6, 2]], dtype=int32)
        """
        return self.shift_tokens_right(tf.convert_to_tensor(labels))

    def pooled(self, body: Any, inputs: Tensors) -> tf.Tensor:
        """Return the decoder's state at the last ``config.eos_token_id`` of ``input_ids``.

        Raises:
            ValueError: there are no ``input_ids``.
            tf.errors.InvalidArgumentError: a row has no such token.
        """
        if "input_ids" not in inputs:
            raise ValueError(f"{type(self).__name__} needs input_ids, to find where they end")
        ends = tf.reshape(tf.constant(self.config.eos_token_id, tf.int32), [-1])
        is_end = tf.reduce_any(tf.cast(inputs["input_ids"], tf.int32)[..., None] == ends, axis=-1)
        message = [f"input_ids must have eos_token_id = {self.config.eos_token_id} in each row"]
        is_end = require(tf.reduce_all(tf.reduce_any(is_end, axis=1)), message, is_end)
        numbers = tf.range(tf.shape(is_end)[1]) * tf.cast(is_end, tf.int32)
        return tf.gather(body.last_hidden_state, tf.argmax(numbers, axis=-1), batch_dims=1)

    def make_classifier(self, num_labels: int) -> ClassificationHead:
        """Return a dense layer, a hyperbolic tangent and another dense layer."""
        rate = self.config.classifier_dropout
        return self.make_head(
            num_labels, dropout=rate, hidden_dropout=rate, hidden_activation=tf.tanh
        )

    def make_lm_head(self) -> LanguageModelingHead:
        """Return the scores of all tokens: the decoder's token vectors, where they are tied."""
        return self.make_next_token_head()

    def make_next_token_head(self, **options: Any) -> LanguageModelingHead:
        """Return a head without hidden layer; ``options`` are those of `LanguageModelingHead`."""
        config = self.config
        arguments = {"tied": config.tie_word_embeddings, "decoder_bias": False} | options
        return LanguageModelingHead(
            self.state_size,
            self.state_size,
            self.get_decoder_embeddings().input_dim,
            stddev=self.stddev,
            name="lm_head",
            dtype=self.dtype_policy,
            **arguments,
        )
