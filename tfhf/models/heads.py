"""The heads that most architectures share: a body, a small layer on top, a loss.

An architecture's class names its body and the head's layer::

    class TFBertForTokenClassification(TFForTokenClassification, TFBertPreTrainedModel): ...

``TFBertPreTrainedModel`` says how the body is made (:meth:`make_body`), what stands between body
and classes (:meth:`make_classifier`) and which vector represents a whole sequence (:meth:`pooled`).
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfhf.layers import Block, Dense, Embedding, LayerNorm, get_tf_activation, resize
from tfhf.layers.activations import Activation
from tfhf.losses import (
    causal_lm_loss,
    cross_entropy,
    question_answering_loss,
    sequence_classification_loss,
)
from tfhf.modeling import TFPreTrainedModel
from tfhf.outputs import (
    ModelOutput,
    TFCausalLMOutputWithCrossAttentions,
    TFMaskedLMOutput,
    TFMultipleChoiceModelOutput,
    TFQuestionAnsweringModelOutput,
    TFSequenceClassifierOutput,
    TFTokenClassifierOutput,
)


class ClassificationHead(Block):
    """Dropout and a dense layer to the classes, or a hidden dense layer before them.

    Args:
        hidden_size: size of what comes in.
        num_labels: number of classes.
        dropout: rate before the last dense layer.
        hidden_activation: with it, a dense layer of ``hidden_size`` comes first.
        hidden_dropout: rate before that hidden layer.
        hidden_bias: whether that hidden layer has a bias.
        hidden_norm: normalises what that hidden layer gives.
        stddev: of the kernels' first values.
    """

    def __init__(
        self,
        hidden_size: int,
        num_labels: int,
        *,
        dropout: float,
        hidden_activation: Activation | None = None,
        hidden_dropout: float = 0.0,
        hidden_bias: bool = True,
        hidden_norm: LayerNorm | None = None,
        stddev: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        options = {"stddev": stddev, "dtype": self.dtype_policy}
        self.hidden = None
        if hidden_activation is not None:
            self.hidden_dropout = keras.layers.Dropout(hidden_dropout, dtype=self.dtype_policy)
            self.hidden = Dense(
                hidden_size,
                hidden_size,
                activation=hidden_activation,
                use_bias=hidden_bias,
                name="hidden",
                **options,
            )
        self.norm = hidden_norm
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.out = Dense(hidden_size, num_labels, name="out", **options)

    def call(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Map [..., hidden_size] to float32 logits [..., num_labels]."""
        if self.hidden is not None:
            features = self.hidden(self.hidden_dropout(features, training=training))
        if self.norm is not None:
            features = self.norm(features)
        logits = self.out(self.dropout(features, training=training))
        return tf.cast(logits, tf.float32)


class LanguageModelingHead(Block):
    """Dense, activation, normalisation, then scores of all tokens.

    With ``tied`` the scores come from the embedding table that the call is given, plus ``bias``;
    else from a dense layer ``decoder``. Each of the three parts may go without its bias.
    Reference: ``BertLMPredictionHead``.
    """

    def __init__(
        self,
        hidden_size: int,
        embedding_size: int,
        vocab_size: int,
        *,
        tied: bool,
        activation: Activation,
        epsilon: float,
        stddev: float,
        transform_bias: bool = True,
        norm_bias: bool = True,
        decoder_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.transform = Dense(
            hidden_size,
            embedding_size,
            activation=activation,
            use_bias=transform_bias,
            stddev=stddev,
            name="transform",
            dtype=dtype,
        )
        self.norm = LayerNorm(embedding_size, epsilon, use_bias=norm_bias, name="norm", dtype=dtype)
        self.vocab_size = vocab_size
        self.use_bias = decoder_bias
        self.decoder = None
        self.bias = None
        self.bias_initializer = keras.initializers.Zeros()
        if not tied:
            self.decoder = Dense(
                embedding_size,
                vocab_size,
                use_bias=decoder_bias,
                stddev=stddev,
                name="decoder",
                dtype=dtype,
            )

    def build(self, input_shape: Any = None) -> None:
        """Create the variables; ``bias`` [vocab_size] where there is no decoder."""
        if self.decoder is None and self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.vocab_size,), initializer=self.bias_initializer
            )
        super().build()

    def resize(self, vocab_size: int) -> None:
        """Score another number of tokens."""
        if self.decoder is not None:
            self.decoder.resize(vocab_size)
        elif self.bias is not None:
            resize(self, "bias", vocab_size)
        self.vocab_size = vocab_size

    def call(self, hidden_states: tf.Tensor, embeddings: Embedding) -> tf.Tensor:
        """Map [batch, length, hidden_size] to float32 logits [batch, length, vocab_size]."""
        x = self.norm(self.transform(hidden_states))
        if self.decoder is not None:
            return tf.cast(self.decoder(x), tf.float32)
        scores = tf.cast(embeddings.project(x), tf.float32)
        if self.bias is not None:
            scores = tf.nn.bias_add(scores, tf.cast(self.bias, tf.float32))
        return scores


class TFModelWithHead(TFPreTrainedModel):
    """A body and one head: what the classes below share."""

    needs_pooler: bool = True

    def make_body(self, **kwargs: Any) -> TFPreTrainedModel:
        """Return the body of this architecture."""
        raise NotImplementedError

    def add_body(self) -> None:
        """Hold the body under the attribute that ``base_model_prefix`` names."""
        body = self.make_body(name=self.base_model_prefix, dtype=self.dtype_policy)
        setattr(self, self.base_model_prefix, body)

    def body_inputs(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return the inputs of the body, which are those of the head or more."""
        return inputs

    def pooled(self, body: Any, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """Return the vector of a sequence: the pooler's output, or the first token's state.

        ``body`` is what the body made of ``inputs``.
        """
        pooler_output = body.get("pooler_output")
        return body.last_hidden_state[:, 0] if pooler_output is None else pooler_output

    def make_head(
        self, num_labels: int, *, dropout: float, name: str = "classifier", **options: Any
    ) -> ClassificationHead:
        """Return a head of this model's size; ``options`` are those of `ClassificationHead`."""
        return ClassificationHead(
            self.config.hidden_size,
            num_labels,
            dropout=dropout,
            stddev=self.config.initializer_range,
            name=name,
            dtype=self.dtype_policy,
            **options,
        )

    def classifier_dropout(self) -> float:
        """Return the rate of ``config.classifier_dropout``, or of all hidden layers."""
        rate = self.config.classifier_dropout
        return self.config.hidden_dropout_prob if rate is None else rate

    def make_classifier(self, num_labels: int) -> ClassificationHead:
        """Return the layer between :meth:`pooled` and the classes of sequences."""
        return self.make_head(num_labels, dropout=self.classifier_dropout())

    def make_choice_classifier(self, num_labels: int) -> ClassificationHead:
        """Return the layer between :meth:`pooled` and the score of a choice (one label)."""
        return self.make_classifier(num_labels)

    def make_token_classifier(self, num_labels: int) -> ClassificationHead:
        """Return the layer between states and the classes of tokens."""
        return self.make_head(num_labels, dropout=self.classifier_dropout())

    def make_span_classifier(self) -> ClassificationHead:
        """Return the layer between states and the scores of start and end."""
        return self.make_head(self.config.num_labels, dropout=0.0, name="qa_outputs")

    def make_scorer(
        self, activation: str, epsilon: float, *, tied: bool | None = None, **options: Any
    ) -> LanguageModelingHead:
        """Return a head of this model's size; ``options`` are those of `LanguageModelingHead`."""
        config = self.config
        return LanguageModelingHead(
            config.hidden_size,
            self.get_input_embeddings().output_dim,
            config.vocab_size,
            tied=config.tie_word_embeddings if tied is None else tied,
            activation=get_tf_activation(activation),
            epsilon=epsilon,
            stddev=config.initializer_range,
            name="lm_head",
            dtype=self.dtype_policy,
            **options,
        )

    def make_lm_head(self) -> LanguageModelingHead:
        """Return the layer between states and the scores of all tokens."""
        return self.make_scorer(self.config.hidden_act, self.config.layer_norm_eps)


def _finish(
    output_type: type[ModelOutput], loss: tf.Tensor | None, body: ModelOutput, **logits: tf.Tensor
) -> Any:
    names = output_type.__dataclass_fields__  # type: ignore[attr-defined]
    shown = {name: body[name] for name in names if name in body}
    return output_type(loss=loss, **logits, **shown)


class TFForSequenceClassification(TFModelWithHead):
    """Classes, or numbers, for whole sequences.

    ``call`` takes the body's inputs and ``labels``: int [batch] for classes, float [batch] or
    [batch, num_labels] for a regression, float [batch, num_labels] for several labels at a time.
    """

    label_outputs = {"labels": "logits"}
    output_type: type[ModelOutput] = TFSequenceClassifierOutput

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.add_body()
        self.classifier = self.make_classifier(config.num_labels)
        self.build()

    def call(
        self,
        labels: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        training: bool = False,
        **inputs: tf.Tensor,
    ) -> TFSequenceClassifierOutput:
        """Return logits [batch, num_labels] and, given labels, the loss."""
        inputs = self.body_inputs(inputs)
        flags = self.output_flags(output_attentions, output_hidden_states)
        body = self.base_model(**inputs, **flags, training=training, return_dict=True)
        logits = self.classifier(self.pooled(body, inputs), training=training)
        loss = None
        if labels is not None:
            loss = sequence_classification_loss(labels, logits, self.config)
        return _finish(self.output_type, loss, body, logits=logits)


class TFForMultipleChoice(TFModelWithHead):
    """One score per choice; inputs are [batch, num_choices, length], ``labels`` int [batch]."""

    label_outputs = {"labels": "logits"}
    output_type: type[ModelOutput] = TFMultipleChoiceModelOutput

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.add_body()
        self.classifier = self.make_choice_classifier(1)
        self.build()

    @property
    def input_signature(self) -> dict[str, tf.TensorSpec]:
        """The token inputs that the model is served with: int32 [batch, num_choices, length]."""
        return {
            name: tf.TensorSpec((None, None, None), spec.dtype, name=name)
            for name, spec in super().input_signature.items()
        }

    @property
    def dummy_inputs(self) -> dict[str, tf.Tensor]:
        """A small batch to try the model with."""
        return {name: value[None] for name, value in super().dummy_inputs.items()}

    def call(
        self,
        labels: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        training: bool = False,
        **inputs: tf.Tensor,
    ) -> TFMultipleChoiceModelOutput:
        """Return logits [batch, num_choices] and, given labels, the loss.

        Raises:
            ValueError: an input is not [batch, num_choices, length].
        """
        choices = None
        inputs = self.body_inputs(inputs)
        for name, value in inputs.items():
            rank = 4 if name == "inputs_embeds" else 3
            if value.shape.rank != rank and name != "head_mask":
                raise ValueError(
                    f"{name} of {type(self).__name__} must be [batch, num_choices, length], "
                    f"but its shape is {tuple(value.shape)}"
                )
            if name in ("input_ids", "inputs_embeds"):
                choices = tf.shape(value)[1]
        inputs = {
            name: value if name == "head_mask" else _join_choices(value)
            for name, value in inputs.items()
        }
        flags = self.output_flags(output_attentions, output_hidden_states)
        body = self.base_model(**inputs, **flags, training=training, return_dict=True)
        logits = self.classifier(self.pooled(body, inputs), training=training)
        logits = tf.reshape(logits, [-1, choices])
        loss = None if labels is None else cross_entropy(labels, logits)
        return _finish(self.output_type, loss, body, logits=logits)


def _join_choices(value: tf.Tensor) -> tf.Tensor:
    """Fold [batch, num_choices, …] into [batch * num_choices, …], keeping sizes that are known."""
    static = value.shape[2:]
    joined = tf.reshape(value, tf.concat([[-1], tf.shape(value)[2:]], axis=0))
    return tf.ensure_shape(joined, [None, *static])


class TFForTokenClassification(TFModelWithHead):
    """A class for every token; ``labels`` int [batch, length], -100 where none counts."""

    label_outputs = {"labels": "logits"}
    output_type: type[ModelOutput] = TFTokenClassifierOutput
    needs_pooler = False

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.add_body()
        self.classifier = self.make_token_classifier(config.num_labels)
        self.build()

    def call(
        self,
        labels: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        training: bool = False,
        **inputs: tf.Tensor,
    ) -> TFTokenClassifierOutput:
        """Return logits [batch, length, num_labels] and, given labels, the loss."""
        flags = self.output_flags(output_attentions, output_hidden_states)
        body = self.base_model(**inputs, **flags, training=training, return_dict=True)
        logits = self.classifier(body.last_hidden_state, training=training)
        loss = None if labels is None else cross_entropy(labels, logits)
        return _finish(self.output_type, loss, body, logits=logits)


class TFForQuestionAnswering(TFModelWithHead):
    """Start and end of an answer; ``start_positions`` and ``end_positions`` int [batch]."""

    label_outputs = {"start_positions": "start_logits", "end_positions": "end_logits"}
    output_type: type[ModelOutput] = TFQuestionAnsweringModelOutput
    needs_pooler = False

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.add_body()
        self.qa_outputs = self.make_span_classifier()
        self.build()

    def call(
        self,
        start_positions: tf.Tensor | None = None,
        end_positions: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        training: bool = False,
        **inputs: tf.Tensor,
    ) -> TFQuestionAnsweringModelOutput:
        """Return start and end logits [batch, length] and, given both positions, the loss."""
        inputs = self.body_inputs(inputs)
        flags = self.output_flags(output_attentions, output_hidden_states)
        body = self.base_model(**inputs, **flags, training=training, return_dict=True)
        logits = self.qa_outputs(body.last_hidden_state, training=training)
        start, end = tf.unstack(logits, num=2, axis=-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = question_answering_loss(start_positions, end_positions, start, end)
        return _finish(self.output_type, loss, body, start_logits=start, end_logits=end)


class TFForMaskedLM(TFModelWithHead):
    """Scores for masked tokens; ``labels`` int [batch, length], -100 where nothing was masked."""

    label_outputs = {"labels": "logits"}
    output_type: type[ModelOutput] = TFMaskedLMOutput
    needs_pooler = False

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.add_body()
        self.lm_head = self.make_lm_head()
        self.build()

    def call(
        self,
        labels: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        training: bool = False,
        **inputs: tf.Tensor,
    ) -> ModelOutput:
        """Return logits [batch, length, vocab_size] and, given labels, the loss."""
        flags = self.output_flags(output_attentions, output_hidden_states)
        body = self.base_model(**inputs, **flags, training=training, return_dict=True)
        logits = self.lm_head(body.last_hidden_state, embeddings=self.get_input_embeddings())
        loss = None if labels is None else cross_entropy(labels, logits)
        return _finish(self.output_type, loss, body, logits=logits)


class TFForCausalLM(TFForMaskedLM):
    """Scores for the next token; ``labels`` are the ``input_ids``, shifted inside, -100 ignored."""

    output_type: type[ModelOutput] = TFCausalLMOutputWithCrossAttentions
    can_generate = True

    def call(
        self,
        labels: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        training: bool = False,
        **inputs: tf.Tensor,
    ) -> ModelOutput:
        """Return logits [batch, length, vocab_size] and, given labels, the loss."""
        flags = self.output_flags(output_attentions, output_hidden_states)
        body = self.base_model(**inputs, **flags, training=training, return_dict=True)
        logits = self.lm_head(body.last_hidden_state, embeddings=self.get_input_embeddings())
        loss = None if labels is None else causal_lm_loss(labels, logits)
        return _finish(self.output_type, loss, body, logits=logits)
