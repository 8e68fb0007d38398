"""What models return: mappings that also answer to attributes and positions.

``out.logits``, ``out["logits"]`` and ``out[0]`` are the same tensor; fields that were not computed
are ``None`` as attributes and absent from the mapping. The names are those of Transformers 4.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Self

import optree
import tensorflow as tf

Tensors = tuple[tf.Tensor, ...]


class ModelOutput(OrderedDict):
    """Base of all outputs: a dataclass whose fields, if not ``None``, are also dictionary items.

    Keras and ``tf.function`` see through it as they see through any dictionary, so that it may be
    returned from compiled functions, ``predict`` and functional models.

    Example:
        >>> out = TFBaseModelOutput(last_hidden_state=tf.zeros((1, 2, 3)))
        >>> out[0] is out.last_hidden_state is out["last_hidden_state"]
        True
        >>> out.attentions is None, list(out)
        (True, ['last_hidden_state'])
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        optree.register_pytree_node(cls, _flatten, cls._unflatten, namespace="keras")

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Return an output with those of ``values`` that it has fields for.

        Example:
            >>> list(TFBaseModelOutput.of(last_hidden_state=tf.zeros((1, 2, 3)), loss=None))
            ['last_hidden_state']
        """
        names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        return cls(**{name: values[name] for name in names if name in values})

    @classmethod
    def _unflatten(cls, names: Any, values: Any) -> ModelOutput:
        return cls(**dict(zip(names, values)))

    def __post_init__(self) -> None:
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        values: list[Any] = [getattr(self, name) for name in names]
        if _is_pairs(values[0]):
            items = dict(values[0])
            values = [items.get(name) for name in names]
        for name, value in zip(names, values):
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if value is None:
            self.pop(name, None)
        else:
            super().__setitem__(name, value)
        super().__setattr__(name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __getitem__(self, key: str | int | slice) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_items, (type(self), dict(self))

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the values that are not ``None``, in the order of the fields."""
        return tuple(self.values())


def _is_pairs(value: Any) -> bool:
    """Whether TensorFlow rebuilds a mapping: from (key, value) pairs, or from a dictionary."""
    return isinstance(value, Iterator | dict) or (
        isinstance(value, list) and all(isinstance(item, tuple) for item in value)
    )


def _flatten(output: Any) -> tuple[tuple[Any, ...], tuple[str, ...], tuple[str, ...]]:
    return output.to_tuple(), tuple(output), tuple(output)


def _from_items(cls: type[ModelOutput], items: dict[str, Any]) -> ModelOutput:
    return cls(**items)


@dataclass
class TFBaseModelOutput(ModelOutput):
    """Output of an encoder without pooler.

    ``last_hidden_state`` [batch, length, hidden_size]; ``hidden_states``: one more than there are
    layers, the embeddings first; ``attentions``: per layer [batch, heads, query, key].
    """

    last_hidden_state: tf.Tensor | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class TFBaseModelOutputWithPoolingAndCrossAttentions(ModelOutput):
    """Output of an encoder with pooler: ``pooler_output`` is [batch, hidden_size]."""

    last_hidden_state: tf.Tensor | None = None
    pooler_output: tf.Tensor | None = None
    past_key_values: Any = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None
    cross_attentions: Tensors | None = None


@dataclass
class TFBaseModelOutputWithPastAndCrossAttentions(ModelOutput):
    """Output of a decoder: ``past_key_values`` lets a later call go on with the tokens after.

    Per layer it holds keys and values, [batch, heads, length, head_size] each.
    """

    last_hidden_state: tf.Tensor | None = None
    past_key_values: Any = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None
    cross_attentions: Tensors | None = None


@dataclass
class TFMaskedLMOutput(ModelOutput):
    """``logits`` [batch, length, vocab_size] in float32; ``loss`` a scalar, given labels."""

    loss: tf.Tensor | None = None
    logits: tf.Tensor | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class TFCausalLMOutputWithCrossAttentions(ModelOutput):
    """``logits`` [batch, length, vocab_size]: position i scores token i + 1."""

    loss: tf.Tensor | None = None
    logits: tf.Tensor | None = None
    past_key_values: Any = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None
    cross_attentions: Tensors | None = None


@dataclass
class TFGPT2DoubleHeadsModelOutput(ModelOutput):
    """``logits`` [batch, num_choices, length, vocab_size]; ``mc_logits`` [batch, num_choices]."""

    logits: tf.Tensor | None = None
    mc_logits: tf.Tensor | None = None
    past_key_values: Any = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class TFOpenAIGPTDoubleHeadsModelOutput(TFGPT2DoubleHeadsModelOutput):
    """`TFGPT2DoubleHeadsModelOutput` under the name that GPT has for it."""


@dataclass
class TFSequenceClassifierOutput(ModelOutput):
    """``logits`` [batch, num_labels]."""

    loss: tf.Tensor | None = None
    logits: tf.Tensor | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class TFTokenClassifierOutput(ModelOutput):
    """``logits`` [batch, length, num_labels]."""

    loss: tf.Tensor | None = None
    logits: tf.Tensor | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class TFMultipleChoiceModelOutput(ModelOutput):
    """``logits`` [batch, num_choices]."""

    loss: tf.Tensor | None = None
    logits: tf.Tensor | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class TFQuestionAnsweringModelOutput(ModelOutput):
    """``start_logits`` and ``end_logits``, both [batch, length]."""

    loss: tf.Tensor | None = None
    start_logits: tf.Tensor | None = None
    end_logits: tf.Tensor | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class TFNextSentencePredictorOutput(ModelOutput):
    """``logits`` [batch, 2]: the second sentence follows the first (0), or is a random one (1)."""

    loss: tf.Tensor | None = None
    logits: tf.Tensor | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class TFBertForPreTrainingOutput(ModelOutput):
    """Masked language modeling and next sentence prediction together; ``loss`` is their sum."""

    loss: tf.Tensor | None = None
    prediction_logits: tf.Tensor | None = None
    seq_relationship_logits: tf.Tensor | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class TFAlbertForPreTrainingOutput(ModelOutput):
    """Masked language modeling and sentence order together; ``loss`` is their sum.

    ``prediction_logits`` [batch, length, vocab_size]; ``sop_logits`` [batch, 2]: the sentences are
    in order (0), or swapped (1).
    """

    loss: tf.Tensor | None = None
    prediction_logits: tf.Tensor | None = None
    sop_logits: tf.Tensor | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class TFElectraForPreTrainingOutput(ModelOutput):
    """``logits`` [batch, length]: above 0 where a token seems to be replaced."""

    loss: tf.Tensor | None = None
    logits: tf.Tensor | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class TFLongformerBaseModelOutputWithPooling(ModelOutput):
    """Output of an encoder with sliding windows and global tokens.

    ``attentions``: per layer [batch, heads, length, x + window + 1], from each token to the global
    ones (x is the most that a row of the batch has) and to those of its window; 0 from a global
    token. ``global_attentions``: per layer [batch, heads, padded length, x], from each global token
    to all, where there is a global mask.
    """

    last_hidden_state: tf.Tensor | None = None
    pooler_output: tf.Tensor | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None
    global_attentions: Tensors | None = None


@dataclass
class TFLongformerMaskedLMOutput(TFMaskedLMOutput):
    """`TFMaskedLMOutput` with the weights of global attention."""

    global_attentions: Tensors | None = None


@dataclass
class TFLongformerSequenceClassifierOutput(TFSequenceClassifierOutput):
    """`TFSequenceClassifierOutput` with the weights of global attention."""

    global_attentions: Tensors | None = None


@dataclass
class TFLongformerTokenClassifierOutput(TFTokenClassifierOutput):
    """`TFTokenClassifierOutput` with the weights of global attention."""

    global_attentions: Tensors | None = None


@dataclass
class TFLongformerMultipleChoiceModelOutput(TFMultipleChoiceModelOutput):
    """`TFMultipleChoiceModelOutput` with the weights of global attention."""

    global_attentions: Tensors | None = None


@dataclass
class TFLongformerQuestionAnsweringModelOutput(TFQuestionAnsweringModelOutput):
    """`TFQuestionAnsweringModelOutput` with the weights of global attention."""

    global_attentions: Tensors | None = None


@dataclass
class TFSeq2SeqModelOutput(ModelOutput):
    """Output of an encoder-decoder; ``last_hidden_state`` is the decoder's.

    ``past_key_values``: per layer of the decoder its own keys and values, then those of
    cross-attention.
    """

    last_hidden_state: tf.Tensor | None = None
    past_key_values: Any = None
    decoder_hidden_states: Tensors | None = None
    decoder_attentions: Tensors | None = None
    cross_attentions: Tensors | None = None
    encoder_last_hidden_state: tf.Tensor | None = None
    encoder_hidden_states: Tensors | None = None
    encoder_attentions: Tensors | None = None


@dataclass
class TFSeq2SeqLMOutput(ModelOutput):
    """``logits`` [batch, decoder length, vocab_size]; the rest as in `TFSeq2SeqModelOutput`."""

    loss: tf.Tensor | None = None
    logits: tf.Tensor | None = None
    past_key_values: Any = None
    decoder_hidden_states: Tensors | None = None
    decoder_attentions: Tensors | None = None
    cross_attentions: Tensors | None = None
    encoder_last_hidden_state: tf.Tensor | None = None
    encoder_hidden_states: Tensors | None = None
    encoder_attentions: Tensors | None = None


@dataclass
class TFSeq2SeqSequenceClassifierOutput(ModelOutput):
    """``logits`` [batch, num_labels]; the rest as in `TFSeq2SeqModelOutput`."""

    loss: tf.Tensor | None = None
    logits: tf.Tensor | None = None
    past_key_values: Any = None
    decoder_hidden_states: Tensors | None = None
    decoder_attentions: Tensors | None = None
    cross_attentions: Tensors | None = None
    encoder_last_hidden_state: tf.Tensor | None = None
    encoder_hidden_states: Tensors | None = None
    encoder_attentions: Tensors | None = None


@dataclass
class TFSeq2SeqQuestionAnsweringModelOutput(ModelOutput):
    """``start_logits`` and ``end_logits``, both [batch, decoder length]; then as above."""

    loss: tf.Tensor | None = None
    start_logits: tf.Tensor | None = None
    end_logits: tf.Tensor | None = None
    past_key_values: Any = None
    decoder_hidden_states: Tensors | None = None
    decoder_attentions: Tensors | None = None
    cross_attentions: Tensors | None = None
    encoder_last_hidden_state: tf.Tensor | None = None
    encoder_hidden_states: Tensors | None = None
    encoder_attentions: Tensors | None = None


@dataclass
class TFLEDEncoderBaseModelOutput(TFBaseModelOutput):
    """Output of LED's encoder; weights as in `TFLongformerBaseModelOutputWithPooling`."""

    global_attentions: Tensors | None = None


@dataclass
class TFLEDSeq2SeqModelOutput(TFSeq2SeqModelOutput):
    """`TFSeq2SeqModelOutput` with the weights of the encoder's global attention."""

    encoder_global_attentions: Tensors | None = None


@dataclass
class TFLEDSeq2SeqLMOutput(TFSeq2SeqLMOutput):
    """`TFSeq2SeqLMOutput` with the weights of the encoder's global attention."""

    encoder_global_attentions: Tensors | None = None


@dataclass
class TFLEDSeq2SeqQuestionAnsweringModelOutput(TFSeq2SeqQuestionAnsweringModelOutput):
    """`TFSeq2SeqQuestionAnsweringModelOutput` with the weights of global attention."""

    encoder_global_attentions: Tensors | None = None


@dataclass
class TFTransfoXLModelOutput(ModelOutput):
    """Output of Transformer-XL.

    ``mems``: per layer [length, batch, hidden_size], to be given to the call for the next segment.
    """

    last_hidden_state: tf.Tensor | None = None
    mems: Tensors | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class TFTransfoXLLMHeadModelOutput(ModelOutput):
    """Output of Transformer-XL that continues text.

    ``prediction_scores`` [batch, length, vocab_size]: log-probabilities, in float32, of the token
    after each; ``logits`` is another name for them. ``losses`` [batch, length - 1], given labels:
    that of each token but the first, 0 where labels are ignored. ``mems``: as without a head.
    """

    loss: tf.Tensor | None = None
    prediction_scores: tf.Tensor | None = None
    losses: tf.Tensor | None = None
    mems: Tensors | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None

    @property
    def logits(self) -> tf.Tensor | None:
        """The scores under the name that they have elsewhere."""
        return self.prediction_scores


@dataclass
class TFTransfoXLSequenceClassifierOutputWithPast(ModelOutput):
    """``logits`` [batch, num_labels]; ``mems``: as without a head."""

    loss: tf.Tensor | None = None
    logits: tf.Tensor | None = None
    mems: Tensors | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class TFGenerateOutput(ModelOutput):
    """What ``generate(return_dict_in_generate=True)`` returns.

    ``sequences`` int [rows, length], the prompt included; ``scores``: with ``output_scores``, per
    step the processed scores [rows, vocab_size].
    """

    sequences: tf.Tensor | None = None
    scores: Any = None


@dataclass
class TFGenerateBeamOutput(ModelOutput):
    """What beam search returns with ``return_dict_in_generate=True``.

    ``sequences`` int [batch * num_return_sequences, length], the prompt included, and their
    ``sequences_scores``: log-probabilities, divided by a power of the number of new tokens.
    ``scores``: with ``output_scores``, per step the processed log-probabilities [batch * num_beams,
    vocab_size]. ``beam_indices`` int [batch * num_return_sequences, new tokens]: the row of
    ``scores`` that each token was chosen from, -1 behind the end.
    """

    sequences: tf.Tensor | None = None
    sequences_scores: tf.Tensor | None = None
    scores: Any = None
    beam_indices: tf.Tensor | None = None


def flatten_names(output: ModelOutput) -> Iterable[tuple[str, tf.Tensor]]:
    """Yield (name, tensor) for every tensor; those of a tuple are numbered: ``attentions_0``, …"""
    for name, value in output.items():
        if isinstance(value, tuple):
            yield from ((f"{name}_{i}", tensor) for i, tensor in enumerate(value))
        else:
            yield name, value
