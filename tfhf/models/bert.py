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
from tfhf.layers import Dense as DenseLayer
from tfhf.layers import (
    InputEmbeddings,
    LayerNorm,
    TransformerLayer,
    TransformerStack,
    attention_bias,
    get_tf_activation,
)
from tfhf.losses import cross_entropy
from tfhf.models.decoder import past_sizes
from tfhf.models.encoder import TFEncoderModel
from tfhf.models.heads import (
    Tensors,
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


class TFBertPreTrainedModel(TFModelWithHead):
    """What all BERT classes share."""

    config_class = BertConfig
    base_model_prefix = "bert"
    pooled_states: ClassVar[int | None] = 1
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


#: The inputs of classes that can go on from earlier tokens.
WITH_PAST: tuple[str, ...] = (
    *TFBertPreTrainedModel.input_names,
    "past_key_values",
    "use_cache",
    "cache_position",
)


class TFBertModel(TFEncoderModel, TFBertPreTrainedModel):
    """BERT without a head.

    Args:
        config: its configuration.
        add_pooling_layer: whether to have the dense layer over the first token; default: whether
            the architecture has it.
        **kwargs: ``dtype`` and ``name``.
    """

    input_names = WITH_PAST
    output_type: ClassVar[type[ModelOutput]] = TFBaseModelOutputWithPoolingAndCrossAttentions
    #: Whether token vectors are projected even where they have the size of the states.
    always_project = False

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

    def make_embeddings(self) -> InputEmbeddings:
        """Return the layer from token vectors to the encoder's input.

        Vectors have ``config.embedding_size``, if there is one, and are projected where it differs.
        """
        config = self.config
        size = getattr(config, "embedding_size", config.hidden_size)
        options = {"stddev": config.initializer_range, "dtype": self.dtype_policy}
        projection = None
        if size != config.hidden_size or self.always_project:
            projection = DenseLayer(size, config.hidden_size, name="projection", **options)
        return InputEmbeddings(
            config.vocab_size,
            size,
            norm=LayerNorm(size, config.layer_norm_eps, name="norm", dtype=self.dtype_policy),
            dropout=config.hidden_dropout_prob,
            max_positions=config.max_position_embeddings,
            token_types=getattr(config, "type_vocab_size", 0),
            projection=projection,
            name="embeddings",
            **options,
        )

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

    def get_config(self) -> dict[str, Any]:
        """Return what ``model.save("x.keras")`` keeps of the model beside its weights."""
        return super().get_config() | {"add_pooling_layer": self.pooler is not None}

    def encode(
        self,
        vectors: tf.Tensor,
        position_ids: tf.Tensor,
        attention_mask: tf.Tensor | None,
        *,
        token_type_ids: tf.Tensor | None = None,
        encoder_hidden_states: tf.Tensor | None = None,
        encoder_attention_mask: tf.Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        cache_position: tf.Tensor | None = None,
        training: bool = False,
        **inputs: Any,
    ) -> dict[str, Any]:
        """Run the layers; ``inputs`` are ``head_mask`` and the flags.

        Raises:
            ValueError: ``encoder_hidden_states`` for a model without cross-attention, or
                ``past_key_values`` for one whose tokens see those that follow.
        """
        if encoder_hidden_states is not None and not self.cross_attention:
            raise ValueError("encoder_hidden_states needs config.add_cross_attention=True")
        if past_key_values is not None:
            if not self.causal:
                raise ValueError("past_key_values needs config.is_decoder=True")
            inputs["past_key_values"] = past_key_values
        if use_cache is None:
            use_cache = getattr(self.config, "use_cache", False) and not training
        sizes = past_sizes(past_key_values, cache_position, tf.shape(vectors)[1])
        if cache_position is not None:
            inputs["cache_position"] = sizes["past_length"]
        stack = self.encoder(
            self.embeddings(vectors, position_ids, token_type_ids, training=training),
            bias=attention_bias(attention_mask, causal=self.causal, **sizes),
            encoder_hidden_states=encoder_hidden_states,
            encoder_bias=attention_bias(encoder_attention_mask),
            use_cache=use_cache and self.causal and "use_cache" in self.input_names,
            training=training,
            **inputs,
        )
        return stack._asdict()


class TFBertForPreTraining(TFBertPreTrainedModel):
    """Masked language modeling and next sentence prediction, as BERT was trained.

    ``labels`` int [batch, length] (-100: not masked) and ``next_sentence_label`` int [batch].
    """

    label_outputs = {
        "labels": "prediction_logits",
        "next_sentence_label": "seq_relationship_logits",
    }
    output_type: ClassVar[type[ModelOutput]] = TFBertForPreTrainingOutput

    def __init__(self, config: BertConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.add_body()
        self.lm_head = self.make_lm_head()
        self.next_sentence = self.make_next_sentence_head()
        self.build()

    def logits(self, body: Any, inputs: Tensors, training: bool) -> Tensors:
        """Score all tokens at each position, and the two sentences' relation."""
        scores = self.lm_head(body.last_hidden_state, embeddings=self.get_input_embeddings())
        relation = self.next_sentence(body.pooler_output, training=training)
        return dict(zip(self.label_outputs.values(), (scores, tf.cast(relation, tf.float32))))


class TFBertForNextSentencePrediction(TFBertPreTrainedModel):
    """Whether the second sentence follows the first (0) or not (1): logits [batch, 2].

    Labels int [batch], under either name.
    """

    label_outputs = {"labels": "logits", "next_sentence_label": "logits"}
    output_type = TFNextSentencePredictorOutput

    def __init__(self, config: BertConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.add_body()
        self.next_sentence = self.make_next_sentence_head()
        self.build()

    def body_inputs(self, inputs: Tensors) -> dict[str, Any]:
        """Ask for the states that are pooled."""
        return self.only_pooled(inputs)

    def logits(self, body: Any, inputs: Tensors, training: bool) -> Tensors:
        """Classify the pooled output."""
        return {"logits": tf.cast(self.next_sentence(body.pooler_output), tf.float32)}

    def label_loss(self, labels: Tensors, logits: Tensors, inputs: Tensors) -> tf.Tensor:
        """Return the cross-entropy; ``labels`` wins where both are given."""
        return cross_entropy(next(iter(labels.values())), logits["logits"])


class TFBertForMaskedLM(TFForMaskedLM, TFBertPreTrainedModel):
    """BERT with a masked language modeling head."""


class TFBertLMHeadModel(TFForCausalLM, TFBertPreTrainedModel):
    """BERT with a next-token head; ``config.is_decoder=True`` makes it causal."""

    input_names = WITH_PAST

    def prompt_states(self, *args: Any, **inputs: Any) -> tuple[tf.Tensor, Any]:
        """Return the states of a prompt, and the cache; see `TFGenerativeModel.prompt_states`.

        Raises:
            ValueError: tokens see those that follow, so that none can be written after another.
        """
        if not self.config.is_decoder:
            name = type(self).__name__
            raise ValueError(
                f"If you want to use `{name}` as a standalone, add `is_decoder=True.` "
                "Without it in the configuration, tokens see those that follow them."
            )
        return super().prompt_states(*args, **inputs)


class TFBertForSequenceClassification(TFForSequenceClassification, TFBertPreTrainedModel):
    """BERT with a dense layer over the pooled output."""


class TFBertForMultipleChoice(TFForMultipleChoice, TFBertPreTrainedModel):
    """BERT with a score for each choice."""


class TFBertForTokenClassification(TFForTokenClassification, TFBertPreTrainedModel):
    """BERT with a class for each token."""


class TFBertForQuestionAnswering(TFForQuestionAnswering, TFBertPreTrainedModel):
    """BERT with start and end scores for each token."""
