"""Transformer-XL (Dai et al., 2019): https://arxiv.org/abs/1901.02860.

A decoder that reads a text in segments and remembers the hidden states of earlier ones. Positions
are relative, so that they fit any segment. Reference: ``transformers.models.deprecated.transfo_xl``
of Transformers 4.57, from which two things differ: ``losses`` are in the order of the tokens, and
where all labels are ignored the loss is 0.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfhf.checkpoints.weight_table import Dense, Embedding, Norm, Parameters, WeightTable
from tfhf.layers import ClassificationHead, Dropout
from tfhf.layers.adaptive import AdaptiveEmbedding, AdaptiveLogSoftmax
from tfhf.layers.checks import require
from tfhf.layers.distances import Distances, QueryBiases, RelativeLayer
from tfhf.layers.replicas import weighted_mean
from tfhf.losses import IGNORED
from tfhf.models.heads import Tensors, TFForSequenceClassification, TFModelWithHead
from tfhf.models.transfo_xl_config import TransfoXLConfig
from tfhf.outputs import (
    ModelOutput,
    TFTransfoXLLMHeadModelOutput,
    TFTransfoXLModelOutput,
    TFTransfoXLSequenceClassifierOutputWithPast,
)

WEIGHTS = WeightTable(
    prefix="transformer",
    body={
        "word_emb.tables.{i}": Embedding("word_emb.emb_layers.{i}"),
        "word_emb.projections.{i}": Parameters({"matrix": "word_emb.emb_projs.{i}"}),
        "distances": Parameters({"frequencies": "pos_emb.inv_freq"}),
        "biases": Parameters({"content": "r_w_bias", "position": "r_r_bias"}),
        "layer.{i}.attention.qkv": Dense("layers.{i}.dec_attn.qkv_net"),
        "layer.{i}.attention.relative": Dense("layers.{i}.dec_attn.r_net"),
        "layer.{i}.attention.out": Dense("layers.{i}.dec_attn.o_net"),
        "layer.{i}.biases": Parameters(
            {"content": "layers.{i}.dec_attn.r_w_bias", "position": "layers.{i}.dec_attn.r_r_bias"}
        ),
        "layer.{i}.attention_norm": Norm("layers.{i}.dec_attn.layer_norm"),
        "layer.{i}.intermediate": Dense("layers.{i}.pos_ff.CoreNet.0"),
        "layer.{i}.out": Dense("layers.{i}.pos_ff.CoreNet.3"),
        "layer.{i}.output_norm": Norm("layers.{i}.pos_ff.layer_norm"),
    },
    heads={
        "lm_head": Parameters(
            {"cluster_weight": "crit.cluster_weight", "cluster_bias": "crit.cluster_bias"}
        ),
        "lm_head.scores.{i}": Parameters({"bias": "crit.out_layers.{i}.bias"}),
        "lm_head.scores.{i}.table": Embedding("crit.out_layers.{i}"),
        "lm_head.projections.{i}": Parameters({"matrix": "crit.out_projs.{i}"}),
        "classifier.out": Dense("score"),
    },
    # What PyTorch shares with the embeddings, and writes twice into pytorch_model.bin.
    ignored=(r"^crit\.out_layers\.\d+\.weight$", r"^crit\.out_projs\.\d+$"),
)


class TFTransfoXLPreTrainedModel(TFModelWithHead):
    """What all Transformer-XL classes share."""

    config_class = TransfoXLConfig
    base_model_prefix = "transformer"
    weight_table = WEIGHTS
    input_names = ("input_ids", "mems", "head_mask", "inputs_embeds")

    def make_body(self, **kwargs: Any) -> TFTransfoXLModel:
        """Return Transformer-XL itself."""
        return TFTransfoXLModel(self.config, **kwargs)

    def get_input_embeddings(self) -> AdaptiveEmbedding:
        """Return the tables of token embeddings."""
        return self.base_model.word_emb

    @property
    def stddev(self) -> float:
        """The spread of the kernels' first values."""
        config = self.config
        return config.init_range / 3**0.5 if config.init == "uniform" else config.init_std

    def adaptive_options(self) -> dict[str, Any]:
        """Return what the embeddings and the softmax over them are both made with."""
        return {
            "div_val": self.config.div_val,
            "stddev": self.stddev,
            "projection_stddev": self.config.proj_init_std,
            "dtype": self.dtype_policy,
        }

    def predict_step(self, data: Any) -> ModelOutput:
        """One step of ``predict``; the memory, whose first axis is not the batch, is left out."""
        outputs = super().predict_step(data)
        outputs.mems = None
        return outputs


class TFTransfoXLModel(TFTransfoXLPreTrainedModel):
    """Transformer-XL without a head.

    Example:
        >>> config = TransfoXLConfig(vocab_size=20, cutoffs=[5], n_layer=2, mem_len=4)
        >>> model = TFTransfoXLModel(config)
        >>> first = model(tf.constant([[1, 2, 3]]))
        >>> second = model(tf.constant([[4, 5, 6]]), mems=first.mems)
        >>> [memory.shape.as_list() for memory in second.mems]
        [[4, 1, 1024], [4, 1, 1024]]
    """

    def __init__(self, config: TransfoXLConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        if config.attn_type != 0:
            raise ValueError(f"config.attn_type must be 0, but it is {config.attn_type!r}")
        options = {"stddev": self.stddev, "dtype": self.dtype_policy}
        self.word_emb = AdaptiveEmbedding(
            config.vocab_size,
            config.d_embed,
            config.d_model,
            config.cutoffs,
            name="word_emb",
            **self.adaptive_options(),
        )
        self.distances = Distances(config.d_model, name="distances", dtype=self.dtype_policy)
        self.biases = None
        if not config.untie_r:
            self.biases = QueryBiases(config.n_head, config.d_head, name="biases", **options)
        self.layer = [
            RelativeLayer(
                config.d_model,
                config.n_head,
                config.d_head,
                config.d_inner,
                epsilon=config.layer_norm_epsilon,
                dropout=config.dropout,
                attention_dropout=config.dropatt,
                pre_norm=config.pre_lnorm,
                biases=self.biases,
                name=f"layer_{i}",
                **options,
            )
            for i in range(config.n_layer)
        ]
        self.dropout = Dropout(config.dropout, dtype=self.dtype_policy)
        self.build()

    def init_mems(self, batch_size: tf.Tensor | int) -> tf.Tensor:
        """Return a first memory: zeros [n_layer, mem_len, batch, d_model], which tokens do see."""
        config = self.config
        shape = [config.n_layer, config.mem_len, batch_size, config.d_model]
        return tf.zeros(shape, self.compute_dtype)

    def call(  # type: ignore[override]
        self,
        input_ids: tf.Tensor | None = None,
        mems: tf.Tensor | None = None,
        head_mask: tf.Tensor | None = None,
        inputs_embeds: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        training: bool = False,
    ) -> TFTransfoXLModelOutput:
        """Read one segment of a text: token ids, or their vectors.

        Args:
            input_ids: int [batch, length]; or ``inputs_embeds``, float [batch, length, d_model].
            mems: the ``mems`` that the call for the segment before returned, n_layer tensors
                [memory, batch, d_model]; default: see `init_mems`.
            head_mask: [heads] or [layers, heads], 0 silences a head.
            inputs_embeds: see ``input_ids``.
            output_attentions: return attention weights; default as the configuration says.
            output_hidden_states: return the states after each layer.
            training: apply dropout.

        Raises:
            ValueError: neither or both inputs, or an input of another shape.
        """
        config = self.config
        states = [self.dropout(self.token_vectors(input_ids, inputs_embeds), training=training)]
        batch, length = tf.unstack(tf.shape(states[0])[:2])
        if mems is None:
            mems = self.init_mems(states[0].shape[0] or batch)
        if not mems.shape.is_compatible_with([config.n_layer, None, None, config.d_model]):
            raise ValueError(
                f"mems must be {config.n_layer} tensors [memory, batch, {config.d_model}], "
                f"but their shape, one on another, is {mems.shape}"
            )
        memories = tf.unstack(tf.transpose(tf.cast(mems, self.compute_dtype), [0, 2, 1, 3]))
        bias = self.attention_bias(length, tf.shape(mems)[1])
        distances = tf.range(tf.shape(bias)[1] - 1, -1, -1)
        if config.clamp_len > 0:
            distances = tf.minimum(distances, config.clamp_len)
        distances = self.distances(tf.cast(distances, tf.float32))
        distances = self.dropout(distances, training=training)
        attentions = []
        for i, (layer, memory) in enumerate(zip(self.layer, memories)):
            mask = head_mask
            if mask is not None:
                mask = (mask if mask.shape.rank == 1 else mask[i])[None, :, None, None]
            hidden_states, weights = layer(
                states[-1],
                memory=memory,
                distances=distances,
                bias=bias,
                head_mask=mask,
                training=training,
            )
            states.append(hidden_states)
            attentions.append(weights)
        new_mems = tuple(map(self.remember, memories, states)) if config.mem_len > 0 else None
        states[-1] = self.dropout(states[-1], training=training)
        flags = self.output_flags(output_attentions, output_hidden_states)
        return TFTransfoXLModelOutput(
            states[-1],
            new_mems,
            tuple(states) if flags["output_hidden_states"] else None,
            tuple(attentions) if flags["output_attentions"] else None,
        )

    def attention_bias(self, length: tf.Tensor, memory_length: tf.Tensor) -> tf.Tensor:
        """Return what is added to scores, [query, key]: 0 if seen, the lowest float if not."""
        keys = memory_length + length
        ahead = tf.range(keys)[None, :] - tf.range(length)[:, None]
        hidden = ahead > memory_length
        if self.config.same_length:
            hidden |= ahead <= tf.maximum(keys - self.config.mem_len, 0) - length
        return tf.where(hidden, tf.float32.min, 0.0)

    def remember(self, memory: tf.Tensor, states: tf.Tensor) -> tf.Tensor:
        """Return the last ``mem_len`` of old and new states, as [memory, batch, d_model]."""
        mem_len = self.config.mem_len
        kept = tf.concat([memory, states], axis=1)[:, -mem_len:]
        if (memory.shape[1] or 0) >= mem_len:
            kept = tf.ensure_shape(kept, [None, mem_len, None])
        return tf.transpose(tf.stop_gradient(kept), [1, 0, 2])


class TFTransfoXLLMHeadModel(TFTransfoXLPreTrainedModel):
    """Transformer-XL with an adaptive softmax over the next token."""

    label_outputs = {"labels": "prediction_scores"}
    output_type = TFTransfoXLLMHeadModelOutput
    can_generate = True

    def __init__(self, config: TransfoXLConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        if config.sample_softmax > 0:
            raise ValueError(
                f"config.sample_softmax must not be above 0, but it is {config.sample_softmax}"
            )
        self.add_body()
        self.lm_head = AdaptiveLogSoftmax(
            config.vocab_size,
            config.d_embed,
            config.d_model,
            config.cutoffs,
            tied=config.tie_word_embeddings,
            tied_projections=config.tie_projs,
            name="lm_head",
            **self.adaptive_options(),
        )
        self.build()

    def call(
        self,
        *,
        labels: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        training: bool = False,
        **inputs: tf.Tensor,
    ) -> TFTransfoXLLMHeadModelOutput:
        """Score the next tokens; ``labels`` are the ``input_ids``, shifted inside, -100 ignored.

        The loss needs no scores beyond those of the labels' clusters: a compiled training step,
        which uses nothing else, computes nothing else.
        """
        flags = self.output_flags(output_attentions, output_hidden_states)
        body = self.base_model(**inputs, **flags, training=training, return_dict=True)
        embeddings = self.get_input_embeddings()
        scores = self.lm_head(body.last_hidden_state, embeddings=embeddings)
        loss = losses = None
        if labels is not None:
            labels = labels[:, 1:]
            counted = tf.not_equal(labels, IGNORED)
            losses = self.lm_head.label_losses(
                body.last_hidden_state[:, :-1], tf.where(counted, labels, 0), embeddings
            )
            losses = tf.where(counted, losses, 0.0)
            loss = weighted_mean(losses, tf.cast(counted, tf.float32))
        return TFTransfoXLLMHeadModelOutput(
            loss, scores, losses, body.mems, body.hidden_states, body.attentions
        )

    def read_prompt(
        self,
        input_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        length: tf.Tensor,
        room: tf.Tensor | int,
        **inputs: tf.Tensor,
    ) -> tuple[tf.Tensor, Any]:
        """Read what generation goes on from; see `TFGenerativeModel.read_prompt`.

        Memory is all that there is of earlier tokens, so the cache needs no ``room``.

        Raises:
            ValueError: ``config.mem_len`` is 0.
            tf.errors.InvalidArgumentError: there is padding, which would be remembered, too.
        """
        if not self.config.mem_len:
            raise ValueError(
                "generate needs config.mem_len of at least 1, but it is 0: nothing is remembered"
            )
        seen = tf.reduce_all(attention_mask != 0)
        message = ["attention_mask has padding, which Transformer-XL cannot leave out"]
        name = "inputs_embeds" if "inputs_embeds" in inputs else "input_ids"
        inputs[name] = require(seen, message, inputs.get(name, input_ids))[:, :length]
        scores, cache = self._read((), inputs)
        return scores[:, -1], cache

    def read_tokens(
        self,
        input_ids: tf.Tensor,
        cache: Any,
        attention_mask: tf.Tensor,
        position: tf.Tensor,
        **inputs: tf.Tensor,
    ) -> tuple[tf.Tensor, Any]:
        """Read the tokens that follow; see `TFGenerativeModel.read_tokens`."""
        return self._read(cache, inputs | {"input_ids": input_ids})

    def _read(self, cache: Any, inputs: Tensors) -> tuple[tf.Tensor, Any]:
        if cache:
            inputs["mems"] = tf.stack([tf.transpose(memory, [1, 0, 2]) for (memory,) in cache])
        outputs = self(**inputs, return_dict=True)
        cache = tuple((tf.transpose(memory, [1, 0, 2]),) for memory in outputs.mems or ())
        return outputs.prediction_scores, cache


class TFTransfoXLForSequenceClassification(TFForSequenceClassification, TFTransfoXLPreTrainedModel):
    """Transformer-XL with a dense layer over the last token that is not padding."""

    output_type = TFTransfoXLSequenceClassifierOutputWithPast

    def make_classifier(self, num_labels: int) -> ClassificationHead:
        """Return a dense layer without bias."""
        return self.make_head(num_labels, dropout=0.0, use_bias=False)

    def pooled(self, body: Any, inputs: Tensors) -> tf.Tensor:
        """Return the state before the first padding token, or the last one where there is none.

        Raises:
            ValueError: several rows, and no ``config.pad_token_id`` to tell where they end.
        """
        states = body.last_hidden_state
        if self.config.pad_token_id is None:
            if states.shape[0] not in (1, None):
                raise ValueError(
                    "config.pad_token_id must be set to classify more than one row at a time, but "
                    f"input_ids have {states.shape[0]} rows"
                )
            return states[:, -1]
        if "input_ids" not in inputs:
            return states[:, -1]
        padding = tf.equal(inputs["input_ids"], self.config.pad_token_id)
        first = tf.argmax(tf.cast(padding, tf.int32), axis=-1, output_type=tf.int32)
        return tf.gather(states, (first - 1) % tf.shape(states)[1], batch_dims=1)
