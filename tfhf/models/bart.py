"""BART (Lewis et al., 2020): a denoising autoencoder that reads, and writes, whole texts.

https://arxiv.org/abs/1910.13461
Reference: ``transformers.models.bart.modeling_bart``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf
from transformers import BartConfig

from tfhf.checkpoints.weight_table import Dense, Embedding, Norm, RowBias, WeightTable
from tfhf.layers import (
    ClassificationHead,
    FeedForward,
    InputEmbeddings,
    LanguageModelingHead,
    LayerNorm,
    MultiHeadAttention,
    PreNormLayer,
    SinusoidalPositions,
    TransformerLayer,
    TransformerStack,
    get_tf_activation,
)
from tfhf.layers import Embedding as EmbeddingLayer
from tfhf.models.heads import TFForQuestionAnswering, TFForSequenceClassification
from tfhf.models.seq2seq import TFSeq2SeqModel
from tfhf.models.seq2seq_base import TFSeq2SeqPreTrainedModel
from tfhf.models.seq2seq_heads import TFForConditionalGeneration
from tfhf.outputs import TFSeq2SeqQuestionAnsweringModelOutput, TFSeq2SeqSequenceClassifierOutput

#: Those of all families made from BART: a layer has an ``output_norm`` or a ``feed_forward_norm``.
WEIGHTS = WeightTable(
    prefix="model",
    body={
        "shared": Embedding("shared"),
        "embeddings.token": Embedding("encoder.embed_tokens"),
        "embeddings.position": Embedding("encoder.embed_positions"),
        "embeddings.norm": Norm("encoder.layernorm_embedding"),
        "encoder.layer.{i}.attention.qkv": Dense("encoder.layers.{i}.self_attn.{q,k,v}_proj"),
        "encoder.layer.{i}.attention.out": Dense("encoder.layers.{i}.self_attn.out_proj"),
        "encoder.layer.{i}.attention_norm": Norm("encoder.layers.{i}.self_attn_layer_norm"),
        "encoder.layer.{i}.feed_forward.intermediate": Dense("encoder.layers.{i}.fc1"),
        "encoder.layer.{i}.feed_forward.out": Dense("encoder.layers.{i}.fc2"),
        "encoder.layer.{i}.output_norm": Norm("encoder.layers.{i}.final_layer_norm"),
        "encoder.layer.{i}.feed_forward_norm": Norm("encoder.layers.{i}.final_layer_norm"),
        "encoder.final_norm": Norm("encoder.layer_norm"),
        "decoder_embeddings.token": Embedding("decoder.embed_tokens"),
        "decoder_embeddings.position": Embedding("decoder.embed_positions"),
        "decoder_embeddings.norm": Norm("decoder.layernorm_embedding"),
        "decoder.layer.{i}.attention.qkv": Dense("decoder.layers.{i}.self_attn.{q,k,v}_proj"),
        "decoder.layer.{i}.attention.out": Dense("decoder.layers.{i}.self_attn.out_proj"),
        "decoder.layer.{i}.attention_norm": Norm("decoder.layers.{i}.self_attn_layer_norm"),
        "decoder.layer.{i}.cross_attention.query": Dense("decoder.layers.{i}.encoder_attn.q_proj"),
        "decoder.layer.{i}.cross_attention.key_value": Dense(
            "decoder.layers.{i}.encoder_attn.{k,v}_proj"
        ),
        "decoder.layer.{i}.cross_attention.out": Dense("decoder.layers.{i}.encoder_attn.out_proj"),
        "decoder.layer.{i}.cross_attention_norm": Norm(
            "decoder.layers.{i}.encoder_attn_layer_norm"
        ),
        "decoder.layer.{i}.feed_forward.intermediate": Dense("decoder.layers.{i}.fc1"),
        "decoder.layer.{i}.feed_forward.out": Dense("decoder.layers.{i}.fc2"),
        "decoder.layer.{i}.output_norm": Norm("decoder.layers.{i}.final_layer_norm"),
        "decoder.layer.{i}.feed_forward_norm": Norm("decoder.layers.{i}.final_layer_norm"),
        "decoder.final_norm": Norm("decoder.layer_norm"),
    },
    heads={
        "lm_head": RowBias("final_logits_bias"),
        "lm_head.decoder": Dense("lm_head"),
        "classifier.hidden": Dense("classification_head.dense"),
        "classifier.out": Dense("classification_head.out_proj"),
        "qa_outputs.out": Dense("qa_outputs"),
    },
    tied={
        "encoder.embed_tokens.weight": "shared.weight",  # of the body alone
        "decoder.embed_tokens.weight": "shared.weight",
        "model.encoder.embed_tokens.weight": "model.shared.weight",
        "model.decoder.embed_tokens.weight": "model.shared.weight",
        "lm_head.weight": "model.shared.weight",
    },
    ignored=(r"^(model\.)?(en|de)coder\.version$",),
    optional=("final_logits_bias",),
)
#: The rows of a table of positions that come before the first position.
POSITION_OFFSET = 2


class TFBartPreTrainedModel(TFSeq2SeqPreTrainedModel):
    """What all BART classes share."""

    config_class = BartConfig
    base_model_prefix = "model"
    weight_table = WEIGHTS

    @property
    def stddev(self) -> float:
        """The spread of the kernels' first values."""
        return self.config.init_std

    def make_body(self, **kwargs: Any) -> TFBartModel:
        """Return BART itself."""
        return TFBartModel(self.config, **kwargs)

    def make_span_classifier(self) -> ClassificationHead:
        """Return a dense layer with two outputs, whatever ``config.num_labels`` says."""
        return self.make_head(2, dropout=0.0, name="qa_outputs")

    def make_lm_head(self) -> LanguageModelingHead:
        """Return the scores of all tokens, with a bias that is not trained."""
        return self.make_next_token_head(fixed_bias=True)


class BartStack(TransformerStack):
    """Layers that are left out now and then in training, and can keep to float16's range.

    LayerDrop is of Fan et al. (2020), https://arxiv.org/abs/1909.11556.

    Args:
        layers: the layers.
        layer_drop: how often each is left out, 0 to 1.
        clip: whether states that float16 cannot hold become the greatest that it can: ``"all"``
            that are too large, or those beside an infinity (``"overflow"``); ``None``: no.
        **kwargs: those of a `TransformerStack`.
    """

    def __init__(
        self,
        layers: Sequence[TransformerLayer | PreNormLayer],
        *,
        layer_drop: float,
        clip: str | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(layers, **kwargs)
        self.layer_drop = layer_drop
        self.clip = clip
        if layer_drop > 0:
            self.seed_generator = keras.random.SeedGenerator()

    def pass_on(self, before: tf.Tensor, after: tf.Tensor, training: bool) -> tf.Tensor:
        """Return what the next layer reads; see `TransformerStack.pass_on`."""
        if self.clip is not None and after.dtype == tf.float16:
            limit = tf.float16.max - 1000
            clipped = tf.clip_by_value(after, -limit, limit)
            is_whole = tf.reduce_all(tf.math.is_finite(after)) & (self.clip == "overflow")
            after = tf.where(is_whole, after, clipped)
        if training and self.layer_drop > 0:
            seed = tf.cast(self.seed_generator.next(), tf.int32)  # XLA knows no seeds of 64 bits
            dropped = tf.random.stateless_uniform([], seed) < self.layer_drop
            after = tf.where(dropped, before, after)
        return after


class TFBartModel(TFSeq2SeqModel, TFBartPreTrainedModel):
    """BART without a head."""

    #: Whether layers normalise what their parts read, and stacks what they give (mBART, Pegasus).
    pre_norm: ClassVar[bool] = False
    #: Whether positions are waves, added to vectors that are not normalised (Marian, Pegasus).
    sinusoidal: ClassVar[bool] = False

    @property
    def embedding_scale(self) -> float:
        """What the vectors of the table of tokens are multiplied by."""
        return math.sqrt(self.config.d_model) if self.config.scale_embedding else 1.0

    def default_decoder_input_ids(self, input_ids: tf.Tensor | None) -> tf.Tensor:
        """Return ``input_ids``, shifted: the source itself is the target."""
        if input_ids is None:
            return super().default_decoder_input_ids(None)
        return self.shift_tokens_right(input_ids)

    def make_shared_embeddings(self) -> EmbeddingLayer | None:
        """Return the one table of tokens, which all have where the scores have it."""
        return super().make_shared_embeddings() if self.config.tie_word_embeddings else None

    def make_embeddings(self) -> InputEmbeddings:
        """Return the sum of the vectors of tokens and positions, normalised."""
        config = self.config
        return self.make_input_embeddings(
            "embeddings", config.vocab_size, config.max_position_embeddings
        )

    def make_decoder_embeddings(self) -> InputEmbeddings:
        """Return the same, with positions of its own."""
        config = self.config
        return self.make_input_embeddings(
            "decoder_embeddings", config.vocab_size, config.max_position_embeddings
        )

    def make_input_embeddings(
        self,
        name: str,
        vocab_size: int,
        max_positions: int,
        position_offset: int = POSITION_OFFSET,
    ) -> InputEmbeddings:
        """Return the embeddings of a stack, without tokens where their table is shared."""
        config = self.config
        return InputEmbeddings(
            vocab_size if self.shared is None else 0,
            config.d_model,
            max_positions=max_positions,
            position_offset=0 if self.sinusoidal else position_offset,
            fixed_positions=SinusoidalPositions() if self.sinusoidal else None,
            norm=None if self.sinusoidal else self.norm("norm"),
            dropout=config.dropout,
            stddev=config.init_std,
            name=name,
            dtype=self.dtype_policy,
        )

    def make_encoder(self) -> TransformerStack:
        """Return the layers of the encoder."""
        config = self.config
        sizes = (config.encoder_attention_heads, config.encoder_ffn_dim)
        return self.make_stack(
            "encoder", [self.make_layer(i, *sizes) for i in range(config.encoder_layers)]
        )

    def make_decoder(self) -> TransformerStack:
        """Return the layers of the decoder."""
        config = self.config
        sizes = (config.decoder_attention_heads, config.decoder_ffn_dim)
        layers = [
            self.make_layer(i, *sizes, cross_attention=True) for i in range(config.decoder_layers)
        ]
        return self.make_stack("decoder", layers)

    def make_stack(
        self, name: str, layers: list[TransformerLayer] | list[PreNormLayer]
    ) -> TransformerStack:
        """Return layers, and a norm of what they give where they give what is not normalised."""
        return BartStack(
            layers,
            layer_drop=getattr(self.config, f"{name}_layerdrop"),
            clip=("all" if self.pre_norm else "overflow") if name == "encoder" else None,
            final_norm=self.norm("final_norm") if self.pre_norm else None,
            name=name,
            dtype=self.dtype_policy,
        )

    def norm(self, name: str) -> LayerNorm:
        """Return a layer normalisation of states."""
        return LayerNorm(self.config.d_model, 1e-5, name=name, dtype=self.dtype_policy)

    def make_layer(self, index: int, num_heads: int, intermediate_size: int, **options: Any) -> Any:
        """Return layer number ``index`` of a stack."""
        config = self.config
        if self.pre_norm:
            return self.make_pre_norm_layer(index, num_heads, intermediate_size, **options)
        return TransformerLayer(
            config.d_model,
            num_heads,
            intermediate_size,
            get_tf_activation(config.activation_function),
            epsilon=1e-5,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            stddev=config.init_std,
            feed_forward_type=functools.partial(FeedForward, dropout=config.activation_dropout),
            name=f"layer_{index}",
            dtype=self.dtype_policy,
            **options,
        )

    def make_pre_norm_layer(
        self, index: int, num_heads: int, intermediate_size: int, cross_attention: bool = False
    ) -> PreNormLayer:
        """Return the same layer, with norms before its parts."""
        config = self.config
        options = {"stddev": config.init_std, "dtype": self.dtype_policy}
        attention = functools.partial(
            MultiHeadAttention,
            config.d_model,
            num_heads,
            dropout=config.attention_dropout,
            **options,
        )
        cross: dict[str, Any] = {}
        if cross_attention:
            cross["cross_attention"] = attention(cross_attention=True, name="cross_attention")
            cross["cross_attention_norm"] = self.norm("cross_attention_norm")
        return PreNormLayer(
            attention(name="attention"),
            FeedForward(
                config.d_model,
                intermediate_size,
                get_tf_activation(config.activation_function),
                dropout=config.activation_dropout,
                name="feed_forward",
                **options,
            ),
            attention_norm=self.norm("attention_norm"),
            feed_forward_norm=self.norm("feed_forward_norm"),
            dropout=config.dropout,
            feed_forward_dropout=config.dropout,
            name=f"layer_{index}",
            dtype=self.dtype_policy,
            **cross,
        )

    def decode(
        self,
        input_ids: tf.Tensor | None,
        attention_mask: tf.Tensor | None,
        *,
        inputs_embeds: tf.Tensor | None = None,
        **inputs: Any,
    ) -> Any:
        """Return the decoder's states; beside waves, vectors that are given are scaled, too."""
        if self.sinusoidal and inputs_embeds is not None:
            inputs_embeds *= self.embedding_scale
        return super().decode(input_ids, attention_mask, inputs_embeds=inputs_embeds, **inputs)


class TFBartForConditionalGeneration(TFForConditionalGeneration, TFBartPreTrainedModel):
    """BART with the scores of the target's next token."""


class TFBartForSequenceClassification(TFForSequenceClassification, TFBartPreTrainedModel):
    """BART with two dense layers over the last token of a text."""

    output_type = TFSeq2SeqSequenceClassifierOutput


class TFBartForQuestionAnswering(TFForQuestionAnswering, TFBartPreTrainedModel):
    """BART with start and end scores for each token."""

    output_type = TFSeq2SeqQuestionAnsweringModelOutput
