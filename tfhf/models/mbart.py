"""mBART (Liu et al., 2020) and mBART-50 (Tang et al., 2020), for many languages.

https://arxiv.org/abs/2001.08210 and https://arxiv.org/abs/2008.00401
BART with norms before the parts of a layer and after the last one. A token names the language: the
one that a target ends with in mBART, the one that it begins with in mBART-50.
Reference: ``transformers.models.mbart.modeling_mbart``.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from transformers import MBartConfig

from tfhf.losses import IGNORED
from tfhf.models.bart import TFBartModel, TFBartPreTrainedModel
from tfhf.models.heads import TFForQuestionAnswering, TFForSequenceClassification
from tfhf.models.seq2seq_heads import TFForConditionalGeneration
from tfhf.outputs import TFSeq2SeqQuestionAnsweringModelOutput, TFSeq2SeqSequenceClassifierOutput


class TFMBartPreTrainedModel(TFBartPreTrainedModel):
    """What all mBART classes share."""

    config_class = MBartConfig

    def make_body(self, **kwargs: Any) -> TFMBartModel:
        """Return mBART itself."""
        return TFMBartModel(self.config, **kwargs)

    def shift_tokens_right(self, input_ids: tf.Tensor) -> tf.Tensor:
        """Return ids [batch, length] behind the last of them that is no padding.

        That is the language in mBART, and the end of the text in mBART-50.

        Raises:
            ValueError: the configuration does not say which token is padding.
        """
        if self.config.pad_token_id is None:
            raise ValueError("config.pad_token_id must be set to make decoder_input_ids")
        padding = tf.cast(self.config.pad_token_id, input_ids.dtype)
        ids = tf.where(input_ids == IGNORED, padding, input_ids)
        last = tf.reduce_sum(tf.cast(ids != padding, tf.int32), axis=1, keepdims=True) - 1
        start = tf.gather(ids, tf.maximum(last, 0), axis=1, batch_dims=1)
        return tf.concat([start, ids[:, :-1]], axis=1)


class TFMBartModel(TFMBartPreTrainedModel, TFBartModel):
    """mBART without a head."""

    pre_norm = True


class TFMBartForConditionalGeneration(TFForConditionalGeneration, TFMBartPreTrainedModel):
    """mBART with the scores of the target's next token.

    Languages are told to ``generate``: to mBART as ``decoder_start_token_id``, to mBART-50 as
    ``forced_bos_token_id``.

    Example:
        >>> config = MBartConfig(d_model=4, encoder_layers=1, decoder_layers=1, vocab_size=9,
        ...     encoder_attention_heads=1, decoder_attention_heads=1)
        >>> model = TFMBartForConditionalGeneration(config)
        >>> model.prepare_decoder_input_ids_from_labels([[5, 6, 2, 8, -100]]).numpy()
        array([[8, 5, 6, 2, 8]], dtype=int32)
    """


class TFMBartForSequenceClassification(TFForSequenceClassification, TFMBartPreTrainedModel):
    """mBART with two dense layers over the last token of a text."""

    output_type = TFSeq2SeqSequenceClassifierOutput


class TFMBartForQuestionAnswering(TFForQuestionAnswering, TFMBartPreTrainedModel):
    """mBART with start and end scores for each token."""

    output_type = TFSeq2SeqQuestionAnsweringModelOutput
