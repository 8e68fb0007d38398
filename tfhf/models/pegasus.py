"""Pegasus (Zhang et al., 2020), which summarises: https://arxiv.org/abs/1912.08777.

BART with positions as Marian's and layers as mBART's.
Reference: ``transformers.models.pegasus.modeling_pegasus``.
"""

from __future__ import annotations

from typing import Any

from transformers import PegasusConfig

from tfhf.models.bart import TFBartModel, TFBartPreTrainedModel
from tfhf.models.marian import WEIGHTS
from tfhf.models.seq2seq import TFSeq2SeqModel
from tfhf.models.seq2seq_heads import TFForConditionalGeneration


class TFPegasusPreTrainedModel(TFBartPreTrainedModel):
    """What all Pegasus classes share."""

    config_class = PegasusConfig
    weight_table = WEIGHTS

    def make_body(self, **kwargs: Any) -> TFPegasusModel:
        """Return Pegasus itself."""
        return TFPegasusModel(self.config, **kwargs)


class TFPegasusModel(TFPegasusPreTrainedModel, TFBartModel):
    """Pegasus without a head."""

    pre_norm = True
    sinusoidal = True
    default_decoder_input_ids = TFSeq2SeqModel.default_decoder_input_ids


class TFPegasusForConditionalGeneration(TFForConditionalGeneration, TFPegasusPreTrainedModel):
    """Pegasus with the scores of the target's next token."""
