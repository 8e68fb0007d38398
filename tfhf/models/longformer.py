"""Longformer (Beltagy et al., 2020): https://arxiv.org/abs/2004.05150.

RoBERTa whose tokens see a window of their neighbours, and a few global tokens that see, and are
seen by, all: memory and time grow linearly with the length.
Reference: ``transformers.models.longformer.modeling_longformer``.

Under XLA, which fixes all sizes, a step is compiled anew for each new ``global_attention_mask``, be
it given or made from separators. No mask at all, and the first token, which sequence classification
takes by itself, are compiled once.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, ClassVar

import tensorflow as tf
from transformers import LongformerConfig

from tfhf.checkpoints.weight_table import Dense, WeightTable
from tfhf.layers import (
    SlidingWindowAttention,
    TransformerStack,
    window_layout,
    window_mask,
)
from tfhf.layers.checks import require
from tfhf.models.bert import WEIGHTS as BERT_WEIGHTS
from tfhf.models.heads import (
    TFForMaskedLM,
    TFForMultipleChoice,
    TFForQuestionAnswering,
    TFForTokenClassification,
)
from tfhf.models.roberta import (
    SEQUENCE_CLASSIFIER,
    TFRobertaForSequenceClassification,
    TFRobertaModel,
    TFRobertaPreTrainedModel,
)
from tfhf.models.roberta import WEIGHTS as ROBERTA_WEIGHTS
from tfhf.outputs import (
    TFLongformerBaseModelOutputWithPooling,
    TFLongformerMaskedLMOutput,
    TFLongformerMultipleChoiceModelOutput,
    TFLongformerQuestionAnsweringModelOutput,
    TFLongformerSequenceClassifierOutput,
    TFLongformerTokenClassifierOutput,
)

WEIGHTS = WeightTable(
    prefix="longformer",
    body={
        **BERT_WEIGHTS.body,
        "encoder.layer.{i}.attention.global_query": Dense(
            "encoder.layer.{i}.attention.self.query_global"
        ),
        "encoder.layer.{i}.attention.global_key_value": Dense(
            "encoder.layer.{i}.attention.self.{key_global,value_global}"
        ),
    },
    heads=ROBERTA_WEIGHTS.heads,
    tied={
        "lm_head.decoder.weight": "longformer.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
)


def layer_windows(config: Any) -> list[int]:
    """Return the attention window of each layer.

    Raises:
        ValueError: ``config.attention_window`` has another number of them.
    """
    windows, layers = config.attention_window, config.num_hidden_layers
    if isinstance(windows, int):
        return [windows] * layers
    if len(windows) != layers:
        raise ValueError(
            f"config.attention_window must be one number or {layers}, one for each layer, "
            f"but it is {windows}"
        )
    return list(windows)


def encode_in_windows(
    encoder: TransformerStack,
    windows: list[int],
    states: tf.Tensor,
    attention_mask: tf.Tensor | None,
    global_attention_mask: tf.Tensor | None,
    **inputs: Any,
) -> dict[str, Any]:
    """Run layers on whole windows, and return the fields of an output for ``states`` alone.

    Args:
        encoder: layers with `SlidingWindowAttention`.
        windows: those of the layers.
        states: [batch, length, hidden_size].
        attention_mask: [batch, length], 0 for padding.
        global_attention_mask: [batch, length], 1 for tokens that see all; -1 is padding.
        **inputs: more for the layers.
    """
    shape = tf.shape(states)[:2]
    length = shape[1]
    # What is added to fill the last window is not seen, so its vectors do not matter.
    missing = -length % math.lcm(*windows)
    mask = window_mask(attention_mask, global_attention_mask, shape, missing)
    stack = encoder(tf.pad(states, [[0, 0], [0, missing], [0, 0]]), bias=mask, **inputs)
    outputs = {"last_hidden_state": stack.last_hidden_state[:, :length]}
    if stack.hidden_states is not None:
        outputs["hidden_states"] = tuple(state[:, :length] for state in stack.hidden_states)
    if stack.attentions is not None:
        rows = [window_layout(weights, mask, length) for weights in stack.attentions]
        outputs["attentions"], global_attentions = zip(*rows)
        if mask.positions is not None:
            outputs["global_attentions"] = global_attentions
    return outputs


class TFLongformerPreTrainedModel(TFRobertaPreTrainedModel):
    """What all Longformer classes share."""

    config_class = LongformerConfig
    base_model_prefix = "longformer"
    pooled_states = None  # its attention goes by windows
    weight_table = WEIGHTS
    input_names: ClassVar[tuple[str, ...]] = (
        "input_ids",
        "attention_mask",
        "head_mask",
        "global_attention_mask",
        "token_type_ids",
        "position_ids",
        "inputs_embeds",
    )

    def make_body(self, **kwargs: Any) -> TFLongformerModel:
        """Return Longformer itself."""
        return TFLongformerModel(self.config, add_pooling_layer=self.needs_pooler, **kwargs)

    def classifier_dropout(self) -> float:
        """Return the rate of all hidden layers."""
        return self.config.hidden_dropout_prob

    def question_end(self, input_ids: tf.Tensor) -> tf.Tensor:
        """Return where the first separator of ids [..., length] is: int [..., 1].

        Raises:
            tf.errors.InvalidArgumentError: a row has not the three separators of a pair of texts.
        """
        separator = self.config.sep_token_id
        is_separator = tf.cast(tf.equal(input_ids, separator), tf.int32)
        counts = tf.reduce_sum(is_separator, axis=-1)
        message = [f"input_ids must have 3 separators (sep_token_id = {separator}) in each row, "]
        message += ["or global_attention_mask must be given, but the rows have", counts]
        is_separator = require(tf.reduce_all(tf.equal(counts, 3)), message, is_separator)
        return tf.argmax(is_separator, axis=-1, output_type=tf.int32)[..., None]


class TFLongformerModel(TFLongformerPreTrainedModel, TFRobertaModel):
    """Longformer without a head.

    Args:
        config: its configuration; ``attention_window`` is one even number, or one for each layer.
        add_pooling_layer: whether to have the dense layer over the first token.
        **kwargs: ``dtype`` and ``name``.

    Example:
        >>> from transformers import LongformerConfig
        >>> model = TFLongformerModel(LongformerConfig(
        ...     hidden_size=8, num_hidden_layers=1, num_attention_heads=2, attention_window=4))
        >>> ids = tf.constant([[0, 7, 8, 9, 2]])
        >>> model(ids, global_attention_mask=tf.constant([[1, 0, 0, 0, 0]]))[0].shape
        TensorShape([1, 5, 8])
    """

    output_type = TFLongformerBaseModelOutputWithPooling

    def make_encoder(self) -> TransformerStack:
        """Return the layers, each with its own window."""
        layers = [
            self.make_layer(
                f"layer_{i}",
                attention_type=functools.partial(SlidingWindowAttention, window=window),
            )
            for i, window in enumerate(layer_windows(self.config))
        ]
        return TransformerStack(layers, name="encoder", dtype=self.dtype_policy)

    def encode(
        self,
        vectors: tf.Tensor,
        position_ids: tf.Tensor,
        attention_mask: tf.Tensor | None,
        *,
        token_type_ids: tf.Tensor | None = None,
        global_attention_mask: tf.Tensor | None = None,
        training: bool = False,
        **inputs: Any,
    ) -> dict[str, Any]:
        """Run the layers on whole windows; ``inputs`` are ``head_mask`` and the flags."""
        return encode_in_windows(
            self.encoder,
            layer_windows(self.config),
            self.embeddings(vectors, position_ids, token_type_ids, training=training),
            attention_mask,
            global_attention_mask,
            training=training,
            **inputs,
        )


class TFLongformerForMaskedLM(TFForMaskedLM, TFLongformerPreTrainedModel):
    """Longformer with a masked language modeling head."""

    output_type = TFLongformerMaskedLMOutput


class TFLongformerForSequenceClassification(
    TFLongformerPreTrainedModel, TFRobertaForSequenceClassification
):
    """Longformer with two dense layers over the first token.

    The first token is global where no ``global_attention_mask`` is given.
    """

    output_type = TFLongformerSequenceClassifierOutput
    weight_table = dataclasses.replace(WEIGHTS, heads=SEQUENCE_CLASSIFIER)

    def body_inputs(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Make the first token global."""
        tokens = inputs.get("input_ids", inputs.get("inputs_embeds"))
        if "global_attention_mask" in inputs or tokens is None:
            return inputs
        batch, length = tf.unstack(tf.shape(tokens)[:2])
        first = tf.one_hot(tf.zeros([batch], tf.int32), length, dtype=tf.int32)
        return inputs | {"global_attention_mask": first}


class TFLongformerForMultipleChoice(TFForMultipleChoice, TFLongformerPreTrainedModel):
    """Longformer with a score for each choice.

    Where no ``global_attention_mask`` is given, tokens after the second separator are global.
    """

    output_type = TFLongformerMultipleChoiceModelOutput

    def body_inputs(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Make the choices global; two separators stand before each."""
        if "global_attention_mask" not in inputs and "input_ids" in inputs:
            ids = inputs["input_ids"]
            choice = tf.range(tf.shape(ids)[-1]) > self.question_end(ids) + 1
            inputs = inputs | {"global_attention_mask": choice}
        return super().body_inputs(inputs)


class TFLongformerForTokenClassification(TFForTokenClassification, TFLongformerPreTrainedModel):
    """Longformer with a class for each token."""

    output_type = TFLongformerTokenClassifierOutput


class TFLongformerForQuestionAnswering(TFForQuestionAnswering, TFLongformerPreTrainedModel):
    """Longformer with start and end scores for each token.

    Where no ``global_attention_mask`` is given, the question's tokens are global: those before the
    first separator.
    """

    output_type = TFLongformerQuestionAnsweringModelOutput

    def body_inputs(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Make the question global."""
        if "global_attention_mask" in inputs or "input_ids" not in inputs:
            return inputs
        ids = inputs["input_ids"]
        question = tf.range(tf.shape(ids)[-1]) < self.question_end(ids)
        return inputs | {"global_attention_mask": question}
