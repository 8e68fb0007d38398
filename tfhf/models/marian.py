"""Marian (Junczys-Dowmunt et al., 2018), whose checkpoints translate: https://aclanthology.org/P18-4020.

BART with positions that are waves and are not trained, and, where
``config.share_encoder_decoder_embeddings`` is false, with a vocabulary for each language.
Reference: ``transformers.models.marian.modeling_marian``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from transformers import MarianConfig

from tfhf.layers import Embedding, InputEmbeddings
from tfhf.models.bart import WEIGHTS as BART_WEIGHTS
from tfhf.models.bart import TFBartModel, TFBartPreTrainedModel
from tfhf.models.seq2seq import TFSeq2SeqModel
from tfhf.models.seq2seq_heads import TFForConditionalGeneration

#: Files may lack the positions, which are the same in all.
WEIGHTS = dataclasses.replace(
    BART_WEIGHTS,
    optional=(
        *BART_WEIGHTS.optional,
        "encoder.embed_positions.weight",
        "decoder.embed_positions.weight",
        "model.encoder.embed_positions.weight",
        "model.decoder.embed_positions.weight",
    ),
)
#: Those of two vocabularies.
SEPARATE_WEIGHTS = dataclasses.replace(
    WEIGHTS, tied={"lm_head.weight": "model.decoder.embed_tokens.weight"}
)


class TFMarianPreTrainedModel(TFBartPreTrainedModel):
    """What all Marian classes share."""

    config_class = MarianConfig
    weight_table = WEIGHTS

    def __init__(self, config: MarianConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        if not config.share_encoder_decoder_embeddings:
            self.weight_table = SEPARATE_WEIGHTS

    def make_body(self, **kwargs: Any) -> TFMarianModel:
        """Return Marian itself."""
        return TFMarianModel(self.config, **kwargs)

    def resize_token_embeddings(self, new_num_tokens: int | None = None) -> Embedding:
        """Have room for another number of tokens: of two vocabularies, for those of the source."""
        config, table = self.config, self.get_input_embeddings()
        if config.share_encoder_decoder_embeddings:
            table = super().resize_token_embeddings(new_num_tokens)
            config.decoder_vocab_size = config.vocab_size
        elif new_num_tokens is not None:
            self.resize_layers([table], new_num_tokens)
            config.vocab_size = new_num_tokens
        return table

    def resize_decoder_token_embeddings(self, new_num_tokens: int) -> Embedding:
        """Have room for another number of the target's tokens.

        Raises:
            ValueError: there is one vocabulary, or ``new_num_tokens`` is less than 1.
        """
        config, table = self.config, self.get_decoder_embeddings()
        if config.share_encoder_decoder_embeddings:
            raise ValueError(
                "config.share_encoder_decoder_embeddings is true, so that resize_token_embeddings "
                "is for source and target"
            )
        heads = [self.lm_head] if hasattr(self, "lm_head") else []
        self.resize_layers([table, *heads], new_num_tokens)
        config.decoder_vocab_size = new_num_tokens
        return table


class TFMarianModel(TFMarianPreTrainedModel, TFBartModel):
    """Marian without a head."""

    sinusoidal = True
    default_decoder_input_ids = TFSeq2SeqModel.default_decoder_input_ids

    def make_shared_embeddings(self) -> Embedding | None:
        """Return the one table of tokens, where there is one."""
        shared = self.config.share_encoder_decoder_embeddings
        return super().make_shared_embeddings() if shared else None

    def make_decoder_embeddings(self) -> InputEmbeddings:
        """Return those of the target, which may have other tokens."""
        config = self.config
        return self.make_input_embeddings(
            "decoder_embeddings", config.decoder_vocab_size, config.max_position_embeddings
        )


class TFMarianMTModel(TFForConditionalGeneration, TFMarianPreTrainedModel):
    """Marian with the scores of the target's next token.

    ``generate`` never chooses padding, which begins a target, where the checkpoint's settings say
    so (``bad_words_ids``), as those of all published ones do.

    Example:
        >>> config = MarianConfig(d_model=4, encoder_layers=1, decoder_layers=1, vocab_size=9,
        ...     encoder_attention_heads=1, decoder_attention_heads=1, pad_token_id=8,
        ...     decoder_start_token_id=8)
        >>> model = TFMarianMTModel(config)
        >>> model([[4, 5, 0]], labels=[[6, 7, 0]]).logits.shape
        TensorShape([1, 3, 9])
    """
