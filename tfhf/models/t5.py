"""T5 (Raffel et al., 2020): https://arxiv.org/abs/1910.10683; also T5 1.1 and Flan-T5.

Nothing but the distance between two tokens tells positions: it adds a term to their score, the same
in all layers of a stack. Reference: ``transformers.models.t5.modeling_t5``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import tensorflow as tf
from transformers import T5Config

from tfhf.checkpoints.weight_table import Dense, Embedding, Norm, WeightTable
from tfhf.layers import Dense as DenseLayer
from tfhf.layers import Embedding as EmbeddingLayer
from tfhf.layers import (
    FeedForward,
    GatedFeedForward,
    InputEmbeddings,
    MultiHeadAttention,
    Normal,
    PreNormLayer,
    RelativePositionBias,
    RMSNorm,
    TransformerStack,
    attention_bias,
    get_tf_activation,
)
from tfhf.models.encoder import TFEncoderModel
from tfhf.models.heads import (
    Tensors,
    TFForQuestionAnswering,
    TFForSequenceClassification,
    TFForTokenClassification,
)
from tfhf.models.seq2seq import TFSeq2SeqModel
from tfhf.models.seq2seq_base import TFSeq2SeqPreTrainedModel
from tfhf.models.seq2seq_heads import TFForConditionalGeneration
from tfhf.outputs import TFSeq2SeqQuestionAnsweringModelOutput, TFSeq2SeqSequenceClassifierOutput


def _stack_weights(stack: str, feed_forward: int) -> dict[str, Any]:
    """Return the rows of the encoder or decoder, whose layers have that part number last."""
    ours, theirs = f"{stack}.layer.{{i}}", f"{stack}.block.{{i}}.layer"
    last = f"{theirs}.{feed_forward}"
    return {
        f"{stack}.relative_bias": Embedding(
            f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias"
        ),
        f"{ours}.attention_norm": Norm(f"{theirs}.0.layer_norm"),
        f"{ours}.attention.qkv": Dense(f"{theirs}.0.SelfAttention.{{q,k,v}}"),
        f"{ours}.attention.out": Dense(f"{theirs}.0.SelfAttention.o"),
        f"{ours}.cross_attention_norm": Norm(f"{theirs}.1.layer_norm"),
        f"{ours}.cross_attention.query": Dense(f"{theirs}.1.EncDecAttention.q"),
        f"{ours}.cross_attention.key_value": Dense(f"{theirs}.1.EncDecAttention.{{k,v}}"),
        f"{ours}.cross_attention.out": Dense(f"{theirs}.1.EncDecAttention.o"),
        f"{ours}.feed_forward_norm": Norm(f"{last}.layer_norm"),
        f"{ours}.feed_forward.intermediate": Dense(
            f"{last}.DenseReluDense.{{wi_0,wi_1}}", alone=f"{last}.DenseReluDense.wi"
        ),
        f"{ours}.feed_forward.out": Dense(f"{last}.DenseReluDense.wo"),
        f"{stack}.final_norm": Norm(f"{stack}.final_layer_norm"),
    }


WEIGHTS = WeightTable(
    prefix="transformer",
    body={
        "shared": Embedding("shared"),
        **_stack_weights("encoder", 1),
        **_stack_weights("decoder", 2),
    },
    heads={
        "lm_head.decoder": Dense("lm_head"),
        "classifier.hidden": Dense("classification_head.dense"),
        "classifier.out": Dense("classification_head.out_proj"),
        "qa_outputs.out": Dense("qa_outputs"),
    },
    tied={
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
        "lm_head.weight": "shared.weight",
        "transformer.encoder.embed_tokens.weight": "transformer.shared.weight",
        "transformer.decoder.embed_tokens.weight": "transformer.shared.weight",
    },
    ignored=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight$",),
)
#: Where the names of the body have no prefix, though there is a head.
BARE_WEIGHTS = dataclasses.replace(WEIGHTS, bare=True)
ENCODER_INPUTS = ("input_ids", "attention_mask", "head_mask", "inputs_embeds")


class T5Kernel(Normal):
    """Normal values; those of the first units, which make queries, are smaller.

    That is in place of a scale of the scores.
    """

    def __init__(self, stddev: float, queries: int, head_size: int) -> None:
        super().__init__(stddev)
        self.queries, self.head_size = queries, head_size

    def __call__(self, shape: Any, dtype: Any = None) -> tf.Tensor:
        """Return a tensor of ``shape`` [input_size, units]."""
        values = super().__call__(shape, dtype)
        is_query = tf.range(shape[-1]) < self.queries
        return tf.where(is_query, values * self.head_size**-0.5, values)


class T5Stack(TransformerStack):
    """Layers, and what distances add to the scores of all of them."""

    def __init__(
        self, layers: list[PreNormLayer], relative_bias: RelativePositionBias, **kwargs: Any
    ) -> None:
        super().__init__(layers, **kwargs)
        self.relative_bias = relative_bias

    def bias(
        self, attention_mask: tf.Tensor | None, length: tf.Tensor, **sizes: Any
    ) -> tf.Tensor | None:
        """Return what is added to the scores of all layers; arguments as for `attention_bias`."""
        causal = not self.relative_bias.bidirectional
        mask = attention_bias(attention_mask, length=length, causal=causal, **sizes)
        relative = self.relative_bias.between(length, **sizes)
        return relative if mask is None else relative + mask


class TFT5PreTrainedModel(TFSeq2SeqPreTrainedModel):
    """What all T5 classes share."""

    config_class = T5Config
    base_model_prefix = "transformer"
    weight_table = WEIGHTS
    input_names: ClassVar[tuple[str, ...]] = (
        "input_ids",
        "attention_mask",
        "decoder_input_ids",
        "decoder_attention_mask",
        "head_mask",
        "decoder_head_mask",
        "encoder_outputs",
        "past_key_values",
        "inputs_embeds",
        "decoder_inputs_embeds",
        "use_cache",
        "cache_position",
    )

    @property
    def stddev(self) -> float:
        """The spread of the first values of a head's kernels."""
        return self.config.initializer_factor * self.config.d_model**-0.5

    def make_body(self, **kwargs: Any) -> TFT5Model | TFT5EncoderModel:
        """Return T5 itself."""
        return TFT5Model(self.config, **kwargs)


class T5Parts:
    """The parts of both bodies, with a decoder and without."""

    config: Any
    compute_dtype: Any
    dtype_policy: Any
    _flatten_layers: Any

    def build(self, input_shape: Any = None) -> None:
        """Create the variables; the more a kernel adds up, the smaller are its first values."""
        config = self.config
        for layer in self._flatten_layers():
            if isinstance(layer, DenseLayer):
                queries = layer.part_sizes[0] if layer.name in ("qkv", "query") else 0
                stddev = config.initializer_factor * layer.input_size**-0.5
                layer.kernel_initializer = T5Kernel(stddev, queries, config.d_kv)
        super().build(input_shape)  # type: ignore[misc]

    def make_shared_embeddings(self) -> EmbeddingLayer:
        """Return the one table of tokens."""
        config = self.config
        return EmbeddingLayer(
            config.vocab_size,
            config.d_model,
            stddev=config.initializer_factor,
            name="shared",
            dtype=self.dtype_policy,
        )

    def make_embeddings(self, name: str = "embeddings") -> InputEmbeddings:
        """Return dropout for the vectors of tokens: there are no positions."""
        config = self.config
        return InputEmbeddings(
            0,
            config.d_model,
            dropout=config.dropout_rate,
            stddev=config.initializer_factor,
            name=name,
            dtype=self.dtype_policy,
        )

    def make_encoder(self) -> T5Stack:
        """Return the layers of the encoder."""
        return self.make_stack("encoder", self.config.num_layers)

    def make_stack(self, name: str, num_layers: int) -> T5Stack:
        """Return the layers of the encoder or of the decoder, as ``name`` says."""
        config = self.config
        is_decoder = name == "decoder"
        return T5Stack(
            [self.make_layer(i, cross_attention=is_decoder) for i in range(num_layers)],
            RelativePositionBias(
                config.relative_attention_num_buckets,
                config.num_heads,
                max_distance=config.relative_attention_max_distance,
                bidirectional=not is_decoder,
                stddev=config.initializer_factor * config.d_model**-0.5,
                name="relative_bias",
                dtype=self.dtype_policy,
            ),
            final_norm=self.norm("final_norm"),
            final_dropout=config.dropout_rate,
            name=name,
            dtype=self.dtype_policy,
        )

    def make_layer(self, index: int, cross_attention: bool) -> PreNormLayer:
        """Return a layer."""
        config = self.config
        options = {"dropout": config.dropout_rate, "use_bias": False, "dtype": self.dtype_policy}
        crossing: dict[str, Any] = {}
        if cross_attention:
            crossing["cross_attention"] = self.make_attention("cross_attention", **options)
            crossing["cross_attention_norm"] = self.norm("cross_attention_norm")
        feed_forward = GatedFeedForward if config.is_gated_act else FeedForward
        return PreNormLayer(
            self.make_attention("attention", **options),
            feed_forward(
                config.d_model,
                config.d_ff,
                get_tf_activation(config.dense_act_fn),
                # What float16 cannot hold comes from here, in large models.
                out_dtype="float32" if self.compute_dtype == "float16" else None,
                name="feed_forward",
                **options,
            ),
            attention_norm=self.norm("attention_norm"),
            feed_forward_norm=self.norm("feed_forward_norm"),
            clip=True,
            dropout=config.dropout_rate,
            feed_forward_dropout=config.dropout_rate,
            name=f"layer_{index}",
            dtype=self.dtype_policy,
            **crossing,
        )

    def make_attention(self, name: str, **options: Any) -> MultiHeadAttention:
        """Return attention, to the states themselves or to an encoder's, as ``name`` says."""
        config = self.config
        return MultiHeadAttention(
            config.d_model,
            config.num_heads,
            head_size=config.d_kv,
            scaling=1.0,
            cross_attention=name == "cross_attention",
            name=name,
            **options,
        )

    def norm(self, name: str) -> RMSNorm:
        """Return a normalisation of states."""
        config = self.config
        return RMSNorm(
            config.d_model, config.layer_norm_epsilon, name=name, dtype=self.dtype_policy
        )


class TFT5Model(T5Parts, TFSeq2SeqModel, TFT5PreTrainedModel):
    """T5 without a head."""

    encoder: T5Stack
    decoder: T5Stack

    def make_decoder_embeddings(self) -> InputEmbeddings:
        """Return dropout for the vectors of tokens."""
        return self.make_embeddings("decoder_embeddings")

    def make_decoder(self) -> T5Stack:
        """Return the layers of the decoder."""
        return self.make_stack("decoder", self.config.num_decoder_layers)

    def encoder_attention_inputs(
        self, attention_mask: tf.Tensor | None, length: tf.Tensor
    ) -> dict[str, Any]:
        """Return what all layers of the encoder are given; see `TFSeq2SeqModel`."""
        return {"bias": self.encoder.bias(attention_mask, length)}

    def decoder_attention_inputs(
        self, attention_mask: tf.Tensor | None, **sizes: Any
    ) -> dict[str, Any]:
        """Return what all layers of the decoder are given; see `TFSeq2SeqModel`."""
        return {"bias": self.decoder.bias(attention_mask, **sizes)}


class TFT5EncoderModel(T5Parts, TFEncoderModel, TFT5PreTrainedModel):
    """The encoder of T5."""

    input_names = ENCODER_INPUTS
    weight_table = dataclasses.replace(
        WEIGHTS, ignored=(r"^(transformer\.)?decoder\.", r"^lm_head\.")
    )

    def __init__(self, config: T5Config, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.shared = self.make_shared_embeddings()
        self.embeddings = self.make_embeddings()
        self.encoder = self.make_encoder()
        self.build()

    def encode(
        self,
        vectors: tf.Tensor,
        position_ids: tf.Tensor,
        attention_mask: tf.Tensor | None,
        *,
        training: bool = False,
        **inputs: Any,
    ) -> dict[str, Any]:
        """Return states and attention weights; arguments as in `TFEncoderModel.encode`."""
        outputs = self.encoder(
            self.embeddings(vectors, position_ids, training=training),
            bias=self.encoder.bias(attention_mask, tf.shape(vectors)[1]),
            training=training,
            **inputs,
        )
        return outputs._asdict()


class TFT5ForConditionalGeneration(TFForConditionalGeneration, TFT5PreTrainedModel):
    """T5 with the scores of the target's next token.

    The head has vectors of its own where a checkpoint has some (T5 1.1), and else those of the
    table of tokens (``config.tie_word_embeddings``).
    """

    weight_table = BARE_WEIGHTS

    @property
    def stddev(self) -> float:
        """The spread of the first values of the head's own vectors."""
        return self.config.initializer_factor

    def score(self, states: tf.Tensor) -> tf.Tensor:
        """Return the scores [rows, length, vocab_size] of the token after each state."""
        if getattr(self.config, "scale_decoder_outputs", False):
            states *= self.config.d_model**-0.5
        return super().score(states)


class SourceAsTarget:
    """A head for which a text is source and target."""

    shift_tokens_right: Callable[[tf.Tensor], tf.Tensor]

    def body_inputs(self, inputs: Tensors) -> Tensors:
        """Return the inputs of the body, with the source, shifted, where there is no target."""
        targets = {"decoder_input_ids", "decoder_inputs_embeds"}
        if targets & set(inputs) or "input_ids" not in inputs:
            return inputs
        return inputs | {"decoder_input_ids": self.shift_tokens_right(inputs["input_ids"])}


class TFT5ForSequenceClassification(
    SourceAsTarget, TFForSequenceClassification, TFT5PreTrainedModel
):
    """T5 with two dense layers over the last token of a text, which is source and target."""

    output_type = TFSeq2SeqSequenceClassifierOutput


class TFT5ForTokenClassification(TFForTokenClassification, TFT5PreTrainedModel):
    """The encoder of T5 with a class for each token."""

    input_names = ENCODER_INPUTS
    weight_table = dataclasses.replace(
        TFT5EncoderModel.weight_table, heads={"classifier.out": Dense("classifier")}
    )

    @property
    def stddev(self) -> float:
        """The spread of the first values of the head's kernel."""
        return self.config.initializer_factor

    def make_body(self, **kwargs: Any) -> TFT5EncoderModel:
        """Return the encoder."""
        return TFT5EncoderModel(self.config, **kwargs)


class TFT5ForQuestionAnswering(SourceAsTarget, TFForQuestionAnswering, TFT5PreTrainedModel):
    """T5 with start and end scores for each token of a text, which is source and target."""

    output_type = TFSeq2SeqQuestionAnsweringModelOutput
    weight_table = BARE_WEIGHTS
