"""SmolLM3 (Bakouch et al., 2025): https://huggingface.co/blog/smollm3.

Llama, in some of whose layers positions do not turn queries and keys; these may see a window of the
text only.
Reference: ``transformers.models.smollm3.modeling_smollm3``.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import tensorflow as tf
from transformers import SmolLM3Config

from tfhf.layers import Rotation
from tfhf.models.llama import (
    TFLlamaForCausalLM,
    TFLlamaForQuestionAnswering,
    TFLlamaForSequenceClassification,
    TFLlamaForTokenClassification,
    TFLlamaModel,
    TFLlamaPreTrainedModel,
)


class TFSmolLM3PreTrainedModel(TFLlamaPreTrainedModel):
    """What all SmolLM3 classes share."""

    config_class = SmolLM3Config

    def make_body(self, **kwargs: Any) -> TFSmolLM3Model:
        """Return SmolLM3 itself."""
        return TFSmolLM3Model(self.config, **kwargs)


class TFSmolLM3Model(TFSmolLM3PreTrainedModel, TFLlamaModel):
    """SmolLM3 without a head."""

    def layer_kinds(self) -> Sequence[tuple[str, int]]:
        """Return for each layer what it sees, and 1 if positions turn queries and keys, else 0."""
        return list(zip(self.config.layer_types, self.config.no_rope_layers))

    def bias(self, kind: Any, attention_mask: tf.Tensor | None, **options: Any) -> tf.Tensor | None:
        """Return what is added to the scores of a kind of layers."""
        return super().bias(kind[0], attention_mask, **options)

    def rotation(self, position_ids: tf.Tensor) -> dict[Hashable, Rotation | None]:
        """Return what turns queries and keys, or nothing."""
        rotation = self.rotary_angles(position_ids, self.config.rope_parameters)
        return {kind: rotation if kind[1] else None for kind in self.layer_kinds()}


class TFSmolLM3ForCausalLM(TFSmolLM3PreTrainedModel, TFLlamaForCausalLM):
    """SmolLM3 with the scores of the next token."""


class TFSmolLM3ForSequenceClassification(
    TFSmolLM3PreTrainedModel, TFLlamaForSequenceClassification
):
    """SmolLM3 with a dense layer over the last token."""


class TFSmolLM3ForTokenClassification(TFSmolLM3PreTrainedModel, TFLlamaForTokenClassification):
    """SmolLM3 with a class for each token."""


class TFSmolLM3ForQuestionAnswering(TFSmolLM3PreTrainedModel, TFLlamaForQuestionAnswering):
    """SmolLM3 with start and end scores for each token."""
