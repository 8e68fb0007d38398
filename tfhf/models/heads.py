"""The heads that most architectures share: a body, a small layer on top, a loss.

An architecture's class names its body and the head's layer::

    class TFBertForTokenClassification(TFForTokenClassification, TFBertPreTrainedModel): ...

``TFBertPreTrainedModel`` says how the body is made (:meth:`make_body`), what stands between body
and classes (:meth:`make_classifier`) and which vector represents a whole sequence (:meth:`pooled`).
A head says what it computes from the body's output (:meth:`logits`) and, where it is not a mere
cross-entropy, how labels judge that (:meth:`label_loss`).
"""

from __future__ import annotations

from typing import Any, ClassVar

import tensorflow as tf

from tfhf.layers import ClassificationHead, LanguageModelingHead, get_tf_activation
from tfhf.losses import (
    causal_lm_loss,
    cross_entropy,
    question_answering_loss,
    sequence_classification_loss,
)
from tfhf.modeling import TFPreTrainedModel
from tfhf.models.generative import TFGenerativeModel
from tfhf.outputs import (
    ModelOutput,
    TFCausalLMOutputWithCrossAttentions,
    TFMaskedLMOutput,
    TFMultipleChoiceModelOutput,
    TFQuestionAnsweringModelOutput,
    TFSequenceClassifierOutput,
    TFTokenClassifierOutput,
)

Tensors = dict[str, tf.Tensor]


class TFModelWithHead(TFPreTrainedModel):
    """A body and one head: what the classes below share."""

    needs_pooler: bool = True
    #: How many of the last states :meth:`pooled` reads, the first ones, where the body can leave
    #: out the others; ``None``: all.
    pooled_states: ClassVar[int | None] = None
    #: What ``call`` returns: the loss, the head's logits, and what it has room for of the body's.
    output_type: ClassVar[type[ModelOutput]]

    def make_body(self, **kwargs: Any) -> TFPreTrainedModel:
        """Return the body of this architecture."""
        raise NotImplementedError

    def add_body(self) -> None:
        """Hold the body under the attribute that ``base_model_prefix`` names."""
        body = self.make_body(name=self.base_model_prefix, dtype=self.dtype_policy)
        setattr(self, self.base_model_prefix, body)

    def call(
        self,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        use_cache: bool | None = None,
        training: bool = False,
        **inputs: tf.Tensor,
    ) -> Any:
        """Run the body, then the head.

        Args:
            output_attentions: return attention weights; default as the configuration says.
            output_hidden_states: return the states after each layer.
            use_cache: return ``past_key_values``, where the body has them.
            training: apply dropout.
            **inputs: those of the body, and the labels that ``label_outputs`` names.

        Returns:
            An ``output_type``, with a loss if labels are given.
        """
        labels = {name: inputs.pop(name) for name in self.label_outputs if name in inputs}
        flags = self.output_flags(output_attentions, output_hidden_states)
        if use_cache is not None:
            flags["use_cache"] = use_cache
        body = self.base_model(
            **self.body_inputs(inputs), **flags, training=training, return_dict=True
        )
        logits = self.logits(body, inputs, training)
        loss = self.label_loss(labels, logits, inputs) if labels else None
        return self.output_type.of(**body, **logits, loss=loss)

    @property
    def state_size(self) -> int:
        """The size of the states that the body returns."""
        return self.config.hidden_size

    @property
    def stddev(self) -> float:
        """The spread of the kernels' first values."""
        return self.config.initializer_range

    def body_inputs(self, inputs: Tensors) -> dict[str, Any]:
        """Return the inputs of the body, which are those of the head or more."""
        return inputs

    def only_pooled(self, inputs: Tensors) -> dict[str, Any]:
        """Return the body's ``inputs``, and that it need make no states but those pooled."""
        return inputs if self.pooled_states is None else inputs | {"num_states": self.pooled_states}

    def logits(self, body: Any, inputs: Tensors, training: bool) -> Tensors:
        """Return the head's outputs by their names in ``output_type``.

        ``body`` is what the body returned, ``inputs`` what the model was called with.
        """
        raise NotImplementedError

    def label_loss(self, labels: Tensors, logits: Tensors, inputs: Tensors) -> tf.Tensor | None:
        """Return the loss of the labels that were given, one or more; ``None``: some are missing.

        Here: the cross-entropy of each label with its output, added.
        """
        if len(labels) < len(self.label_outputs):
            return None
        pairs = self.label_outputs.items()
        return tf.add_n(
            [cross_entropy(labels[name], logits[output], argument=name) for name, output in pairs]
        )

    def pooled(self, body: Any, inputs: Tensors) -> tf.Tensor:
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
            self.state_size,
            num_labels,
            dropout=dropout,
            stddev=self.stddev,
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
            self.state_size,
            self.get_input_embeddings().output_dim,
            config.vocab_size,
            tied=config.tie_word_embeddings if tied is None else tied,
            activation=get_tf_activation(activation),
            epsilon=epsilon,
            stddev=self.stddev,
            name="lm_head",
            dtype=self.dtype_policy,
            **options,
        )

    def make_lm_head(self) -> LanguageModelingHead:
        """Return the layer between states and the scores of all tokens."""
        return self.make_scorer(self.config.hidden_act, self.config.layer_norm_eps)


class TFForSequenceClassification(TFModelWithHead):
    """Classes, or numbers, for whole sequences: logits [batch, num_labels].

    ``labels``: int [batch] for classes, float [batch] or [batch, num_labels] for a regression,
    float [batch, num_labels] for several labels at a time.
    """

    label_outputs = {"labels": "logits"}
    output_type: ClassVar[type[ModelOutput]] = TFSequenceClassifierOutput

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.add_body()
        self.classifier = self.make_classifier(config.num_labels)
        self.build()

    def body_inputs(self, inputs: Tensors) -> dict[str, Any]:
        """Ask for the states that are pooled."""
        return self.only_pooled(inputs)

    def logits(self, body: Any, inputs: Tensors, training: bool) -> Tensors:
        """Classify the vector of each sequence."""
        return {"logits": self.classifier(self.pooled(body, inputs), training=training)}

    def label_loss(self, labels: Tensors, logits: Tensors, inputs: Tensors) -> tf.Tensor:
        """Return the loss that ``config.problem_type`` names."""
        return sequence_classification_loss(labels["labels"], logits["logits"], self.config)


class TFForMultipleChoice(TFModelWithHead):
    """One score per choice, logits [batch, num_choices]; ``labels`` int [batch].

    Inputs are [batch, num_choices, length].
    """

    label_outputs = {"labels": "logits"}
    output_type: ClassVar[type[ModelOutput]] = TFMultipleChoiceModelOutput

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
    def dummy_inputs(self) -> Tensors:
        """A small batch to try the model with."""
        return {name: value[None] for name, value in super().dummy_inputs.items()}

    def body_inputs(self, inputs: Tensors) -> dict[str, Any]:
        """Make each choice a row of its own, and ask for the states that are pooled.

        Raises:
            ValueError: an input is not [batch, num_choices, length].
        """
        for name, value in inputs.items():
            rank = 4 if name == "inputs_embeds" else 3
            if value.shape.rank != rank and name != "head_mask":
                raise ValueError(
                    f"{name} of {type(self).__name__} must be [batch, num_choices, length], "
                    f"but its shape is {tuple(value.shape)}"
                )
        return self.only_pooled(_choices_as_rows(inputs))

    def logits(self, body: Any, inputs: Tensors, training: bool) -> Tensors:
        """Score the vector of each choice."""
        tokens = inputs["input_ids"] if "input_ids" in inputs else inputs["inputs_embeds"]
        vectors = self.pooled(body, _choices_as_rows(inputs))
        scores = self.classifier(vectors, training=training)
        return {"logits": tf.reshape(scores, [-1, tf.shape(tokens)[1]])}


def _choices_as_rows(inputs: Tensors) -> Tensors:
    """Fold [batch, num_choices, …] into [batch * num_choices, …], keeping sizes that are known."""

    def fold(value: tf.Tensor) -> tf.Tensor:
        joined = tf.reshape(value, tf.concat([[-1], tf.shape(value)[2:]], axis=0))
        return tf.ensure_shape(joined, [None, *value.shape[2:]])

    return {name: value if name == "head_mask" else fold(value) for name, value in inputs.items()}


class TFForTokenClassification(TFModelWithHead):
    """A class for every token: logits [batch, length, num_labels].

    ``labels``: int [batch, length], -100 where none counts.
    """

    label_outputs = {"labels": "logits"}
    output_type: ClassVar[type[ModelOutput]] = TFTokenClassifierOutput
    needs_pooler = False

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.add_body()
        self.classifier = self.make_token_classifier(config.num_labels)
        self.build()

    def logits(self, body: Any, inputs: Tensors, training: bool) -> Tensors:
        """Classify the state of each token."""
        return {"logits": self.classifier(body.last_hidden_state, training=training)}


class TFForQuestionAnswering(TFModelWithHead):
    """Start and end of an answer: two logits [batch, length].

    ``start_positions`` and ``end_positions``: int [batch].
    """

    label_outputs = {"start_positions": "start_logits", "end_positions": "end_logits"}
    output_type: ClassVar[type[ModelOutput]] = TFQuestionAnsweringModelOutput
    needs_pooler = False

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.add_body()
        self.qa_outputs = self.make_span_classifier()
        self.build()

    def logits(self, body: Any, inputs: Tensors, training: bool) -> Tensors:
        """Score each token as start and as end."""
        logits = self.qa_outputs(body.last_hidden_state, training=training)
        start, end = tf.unstack(logits, num=2, axis=-1)
        return {"start_logits": start, "end_logits": end}

    def label_loss(self, labels: Tensors, logits: Tensors, inputs: Tensors) -> tf.Tensor | None:
        """Return the mean of both losses; positions past the input do not count."""
        if len(labels) < 2:
            return None
        return question_answering_loss(**labels, **logits)


class TFForMaskedLM(TFModelWithHead):
    """Scores for masked tokens: logits [batch, length, vocab_size].

    ``labels``: int [batch, length], -100 where nothing was masked.
    """

    label_outputs = {"labels": "logits"}
    output_type: ClassVar[type[ModelOutput]] = TFMaskedLMOutput
    needs_pooler = False

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.add_body()
        self.lm_head = self.make_lm_head()
        self.build()

    def logits(self, body: Any, inputs: Tensors, training: bool) -> Tensors:
        """Score all tokens of the vocabulary at each position."""
        embeddings = self.get_input_embeddings()
        return {"logits": self.lm_head(body.last_hidden_state, embeddings=embeddings)}


class TFForCausalLM(TFGenerativeModel, TFForMaskedLM):
    """Scores for the next token; ``labels`` are the ``input_ids``, shifted inside, -100 ignored."""

    output_type: ClassVar[type[ModelOutput]] = TFCausalLMOutputWithCrossAttentions

    def label_loss(self, labels: Tensors, logits: Tensors, inputs: Tensors) -> tf.Tensor:
        """Return the cross-entropy of each next token."""
        return causal_lm_loss(labels["labels"], logits["logits"])
