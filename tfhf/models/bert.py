"""BERT (Devlin et al., 2018): https://arxiv.org/abs/1810.04805.

Reference: ``transformers.models.bert.modeling_bert``. As there, ``config.is_decoder`` makes
attention causal and ``config.add_cross_attention`` lets it see an encoder's hidden states.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import keras
import tensorflow as tf
from transformers import BertConfig

from tfhf.checkpoints.weight_table import Bias, Dense, Embedding, Norm, WeightTable
from tfhf.layers import (
    Block,
    LayerNorm,
    TransformerLayer,
    TransformerStack,
    attention_bias,
    get_tf_activation,
)
from tfhf.layers import Dense as DenseLayer
from tfhf.layers import Embedding as EmbeddingLayer
from tfhf.losses import cross_entropy
from tfhf.models.heads import (
    TFForCausalLM,
    TFForMaskedLM,
    TFForMultipleChoice,
    TFForQuestionAnswering,
    TFForSequenceClassification,
    TFForTokenClassification,
    TFModelWithHead,
)
from tfhf.outputs import (
    ModelOutput,
    TFBaseModelOutputWithPoolingAndCrossAttentions,
    TFBertForPreTrainingOutput,
    TFNextSentencePredictorOutput,
)

WEIGHTS = WeightTable(
    prefix="bert",
    body={
        "embeddings.token": Embedding("embeddings.word_embeddings"),
        "embeddings.position": Embedding("embeddings.position_embeddings"),
        "embeddings.token_type": Embedding("embeddings.token_type_embeddings"),
        "embeddings.norm": Norm("embeddings.LayerNorm"),
        "encoder.layer.{i}.attention.qkv": Dense(
            "encoder.layer.{i}.attention.self.{query,key,value}"
        ),
        "encoder.layer.{i}.attention.out": Dense("encoder.layer.{i}.attention.output.dense"),
        "encoder.layer.{i}.attention_norm": Norm("encoder.layer.{i}.attention.output.LayerNorm"),
        "encoder.layer.{i}.cross_attention.query": Dense(
            "encoder.layer.{i}.crossattention.self.query"
        ),
        "encoder.layer.{i}.cross_attention.key_value": Dense(
            "encoder.layer.{i}.crossattention.self.{key,value}"
        ),
        "encoder.layer.{i}.cross_attention.out": Dense(
            "encoder.layer.{i}.crossattention.output.dense"
        ),
        "encoder.layer.{i}.cross_attention_norm": Norm(
            "encoder.layer.{i}.crossattention.output.LayerNorm"
        ),
        "encoder.layer.{i}.feed_forward.intermediate": Dense(
            "encoder.layer.{i}.intermediate.dense"
        ),
        "encoder.layer.{i}.feed_forward.out": Dense("encoder.layer.{i}.output.dense"),
        "encoder.layer.{i}.output_norm": Norm("encoder.layer.{i}.output.LayerNorm"),
        "pooler": Dense("pooler.dense"),
    },
    heads={
        "lm_head.transform": Dense("cls.predictions.transform.dense"),
        "lm_head.norm": Norm("cls.predictions.transform.LayerNorm"),
        "lm_head.decoder": Dense("cls.predictions.decoder"),
        "lm_head": Bias("cls.predictions.bias"),
        "next_sentence": Dense("cls.seq_relationship"),
        "classifier.out": Dense("classifier"),
        "qa_outputs.out": Dense("qa_outputs"),
    },
    tied={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
)


class TFBertEmbeddings(Block):
    """Token, position and token-type vectors, added and normalised.

    Args:
        config: with ``embedding_size``, vectors have that size; without ``type_vocab_size``, there
            are no token types.
        projected: whether a dense layer takes the vectors to ``hidden_size``.
        **kwargs: ``dtype`` and ``name``.
    """

    def __init__(self, config: Any, *, projected: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        size = getattr(config, "embedding_size", config.hidden_size)
        options = {"stddev": config.initializer_range, "dtype": self.dtype_policy}
        self.token = EmbeddingLayer(config.vocab_size, size, name="token", **options)
        self.position = EmbeddingLayer(
            config.max_position_embeddings,
            size,
            ids_name="position_ids",
            name="position",
            **options,
        )
        self.token_type = None
        if types := getattr(config, "type_vocab_size", 0):
            self.token_type = EmbeddingLayer(
                types, size, ids_name="token_type_ids", name="token_type", **options
            )
        self.norm = LayerNorm(size, config.layer_norm_eps, name="norm", dtype=self.dtype_policy)
        self.dropout = keras.layers.Dropout(config.hidden_dropout_prob, dtype=self.dtype_policy)
        self.projection = None
        if projected:
            self.projection = DenseLayer(size, config.hidden_size, name="projection", **options)

    def call(
        self,
        vectors: tf.Tensor,
        position_ids: tf.Tensor,
        token_type_ids: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Complete token vectors [batch, length, size]; types are 0 if not given."""
        if self.token_type is not None:
            if token_type_ids is None:
                token_type_ids = tf.zeros_like(position_ids)
            vectors += self.token_type(token_type_ids)
        vectors += self.position(position_ids)
        vectors = self.dropout(self.norm(vectors), training=training)
        return vectors if self.projection is None else self.projection(vectors)


class TFBertPreTrainedModel(TFModelWithHead):
    """What all BERT classes share."""

    config_class = BertConfig
    base_model_prefix = "bert"
    weight_table = WEIGHTS
    input_names: ClassVar[tuple[str, ...]] = (
        "input_ids",
        "attention_mask",
        "token_type_ids",
        "position_ids",
        "head_mask",
        "inputs_embeds",
        "encoder_hidden_states",
        "encoder_attention_mask",
    )

    def make_body(self, **kwargs: Any) -> TFBertModel:
        """Return BERT itself."""
        return TFBertModel(self.config, add_pooling_layer=self.needs_pooler, **kwargs)

    def make_next_sentence_head(self) -> keras.layers.Layer:
        """Return the layer between the pooled output and two classes."""
        return DenseLayer(
            self.config.hidden_size,
            2,
            stddev=self.config.initializer_range,
            name="next_sentence",
            dtype=self.dtype_policy,
        )


class TFBertModel(TFBertPreTrainedModel):
    """BERT without a head.

    Args:
        config: its configuration.
        add_pooling_layer: whether to have the dense layer over the first token; default: whether
            the architecture has it.
        **kwargs: ``dtype`` and ``name``.
    """

    def __init__(
        self, config: BertConfig, *, add_pooling_layer: bool | None = None, **kwargs: Any
    ) -> None:
        super().__init__(config, **kwargs)
        self.causal = getattr(config, "is_decoder", False)
        self.cross_attention = getattr(config, "add_cross_attention", False)
        if self.cross_attention and not self.causal:
            raise ValueError("config.add_cross_attention needs config.is_decoder=True")
        self.embeddings = self.make_embeddings()
        self.encoder = self.make_encoder()
        self.pooler = None
        if self.needs_pooler if add_pooling_layer is None else add_pooling_layer:
            self.pooler = DenseLayer(
                config.hidden_size,
                config.hidden_size,
                activation=tf.tanh,
                stddev=config.initializer_range,
                name="pooler",
                dtype=self.dtype_policy,
            )
        self.build()

    def make_embeddings(self) -> TFBertEmbeddings:
        """Return the layer from token vectors to the encoder's input."""
        return TFBertEmbeddings(self.config, name="embeddings", dtype=self.dtype_policy)

    def make_layer(
        self,
        name: str,
        layer_type: Callable[..., TransformerLayer] = TransformerLayer,
        **options: Any,
    ) -> TransformerLayer:
        """Return one layer of the encoder; ``options`` are those of `TransformerLayer`."""
        config = self.config
        return layer_type(
            config.hidden_size,
            config.num_attention_heads,
            config.intermediate_size,
            get_tf_activation(config.hidden_act),
            epsilon=config.layer_norm_eps,
            dropout=config.hidden_dropout_prob,
            attention_dropout=config.attention_probs_dropout_prob,
            stddev=config.initializer_range,
            cross_attention=self.cross_attention,
            name=name,
            dtype=self.dtype_policy,
            **options,
        )

    def make_encoder(self) -> TransformerStack:
        """Return the layers, each after the other."""
        layers = [self.make_layer(f"layer_{i}") for i in range(self.config.num_hidden_layers)]
        return TransformerStack(layers, name="encoder", dtype=self.dtype_policy)

    def positions(self, input_ids: tf.Tensor | None, length: tf.Tensor) -> tf.Tensor:
        """Return the positions of tokens where the caller gives none: 0, 1, 2, …"""
        return tf.range(length)[None]

    def get_config(self) -> dict[str, Any]:
        """Return what ``model.save("x.keras")`` keeps of the model beside its weights."""
        return super().get_config() | {"add_pooling_layer": self.pooler is not None}

    def call(
        self,
        input_ids: tf.Tensor | None = None,
        attention_mask: tf.Tensor | None = None,
        token_type_ids: tf.Tensor | None = None,
        position_ids: tf.Tensor | None = None,
        head_mask: tf.Tensor | None = None,
        inputs_embeds: tf.Tensor | None = None,
        encoder_hidden_states: tf.Tensor | None = None,
        encoder_attention_mask: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        training: bool = False,
    ) -> TFBaseModelOutputWithPoolingAndCrossAttentions:
        """Encode token ids, or their vectors.

        Args:
            input_ids: int [batch, length]; or ``inputs_embeds`` [batch, length, hidden_size].
            attention_mask: [batch, length] or [batch, query, key], 0 for padding.
            token_type_ids: int [batch, length], 0 for the first sentence, 1 for the second.
            position_ids: int [batch, length], default 0, 1, 2, …, under left padding too.
            head_mask: [heads] or [layers, heads], 0 silences a head.
            inputs_embeds: see ``input_ids``.
            encoder_hidden_states: [batch, encoder_length, hidden_size], for cross-attention.
            encoder_attention_mask: [batch, encoder_length].
            output_attentions: return attention weights; default as the configuration says.
            output_hidden_states: return the states after each layer.
            training: apply dropout.
        """
        if encoder_hidden_states is not None and not self.cross_attention:
            raise ValueError("encoder_hidden_states needs config.add_cross_attention=True")
        vectors = self.token_vectors(input_ids, inputs_embeds)
        length = tf.shape(vectors)[1]
        if position_ids is None:
            position_ids = self.positions(input_ids, length)
        stack = self.encoder(
            self.embeddings(vectors, position_ids, token_type_ids, training=training),
            bias=attention_bias(attention_mask, causal=self.causal, length=length),
            head_mask=head_mask,
            encoder_hidden_states=encoder_hidden_states,
            encoder_bias=attention_bias(encoder_attention_mask),
            **self.output_flags(output_attentions, output_hidden_states),
            training=training,
        )
        pooler_output = None
        if self.pooler is not None:
            pooler_output = self.pooler(stack.last_hidden_state[:, 0])
        return TFBaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=stack.last_hidden_state,
            pooler_output=pooler_output,
            hidden_states=stack.hidden_states,
            attentions=stack.attentions,
            cross_attentions=stack.cross_attentions,
        )


class TFBertForPreTraining(TFBertPreTrainedModel):
    """Masked language modeling and next sentence prediction, as BERT was trained.

    ``labels`` int [batch, length] (-100: not masked) and ``next_sentence_label`` int [batch].
    """

    label_outputs = {
        "labels": "prediction_logits",
        "next_sentence_label": "seq_relationship_logits",
    }
    output_type: type[ModelOutput] = TFBertForPreTrainingOutput

    def __init__(self, config: BertConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.add_body()
        self.lm_head = self.make_lm_head()
        self.next_sentence = self.make_next_sentence_head()
        self.build()

    def call(
        self,
        labels: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        training: bool = False,
        **inputs: tf.Tensor,
    ) -> Any:
        """Return both logits and, given both labels, the sum of both losses."""
        _, (pair_label, pair_logits) = self.label_outputs.items()
        pair_labels = inputs.pop(pair_label, None)
        flags = self.output_flags(output_attentions, output_hidden_states)
        body = self.base_model(**inputs, **flags, training=training, return_dict=True)
        scores = self.lm_head(body.last_hidden_state, embeddings=self.get_input_embeddings())
        follows = tf.cast(self.next_sentence(body.pooler_output, training=training), tf.float32)
        loss = None
        if labels is not None and pair_labels is not None:
            loss = cross_entropy(labels, scores)
            loss += cross_entropy(pair_labels, follows, argument=pair_label)
        return self.output_type(
            loss=loss,
            prediction_logits=scores,
            **{pair_logits: follows},
            hidden_states=body.hidden_states,
            attentions=body.attentions,
        )


class TFBertForNextSentencePrediction(TFBertPreTrainedModel):
    """Whether the second sentence follows the first (0) or not (1); ``labels`` int [batch]."""

    label_outputs = {"labels": "logits", "next_sentence_label": "logits"}

    def __init__(self, config: BertConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.add_body()
        self.next_sentence = self.make_next_sentence_head()
        self.build()

    def call(
        self,
        labels: tf.Tensor | None = None,
        next_sentence_label: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        training: bool = False,
        **inputs: tf.Tensor,
    ) -> TFNextSentencePredictorOutput:
        """Return logits [batch, 2] and, given labels under either name, the loss."""
        flags = self.output_flags(output_attentions, output_hidden_states)
        body = self.base_model(**inputs, **flags, training=training, return_dict=True)
        logits = tf.cast(self.next_sentence(body.pooler_output), tf.float32)
        labels = next_sentence_label if labels is None else labels
        return TFNextSentencePredictorOutput(
            loss=None if labels is None else cross_entropy(labels, logits),
            logits=logits,
            hidden_states=body.hidden_states,
            attentions=body.attentions,
        )


class TFBertForMaskedLM(TFForMaskedLM, TFBertPreTrainedModel):
    """BERT with a masked language modeling head."""


class TFBertLMHeadModel(TFForCausalLM, TFBertPreTrainedModel):
    """BERT with a next-token head; ``config.is_decoder=True`` makes it causal."""


class TFBertForSequenceClassification(TFForSequenceClassification, TFBertPreTrainedModel):
    """BERT with a dense layer over the pooled output."""


class TFBertForMultipleChoice(TFForMultipleChoice, TFBertPreTrainedModel):
    """BERT with a score for each choice."""


class TFBertForTokenClassification(TFForTokenClassification, TFBertPreTrainedModel):
    """BERT with a class for each token."""


class TFBertForQuestionAnswering(TFForQuestionAnswering, TFBertPreTrainedModel):
    """BERT with start and end scores for each token."""
