"""Any encoder with any decoder that has cross-attention (Rothe et al., 2020).

https://arxiv.org/abs/1907.12461
Reference: ``transformers.models.encoder_decoder.modeling_encoder_decoder``.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import tensorflow as tf
from transformers import AutoConfig, EncoderDecoderConfig

from tfhf.auto import TFAutoModel, TFAutoModelForCausalLM
from tfhf.checkpoints.pretrained import HUB_ARGUMENTS
from tfhf.checkpoints.weight_table import Dense, WeightTable
from tfhf.layers import Dense as DenseLayer
from tfhf.layers import Embedding
from tfhf.layers.cache import make_room
from tfhf.losses import cross_entropy
from tfhf.modeling import TFPreTrainedModel, token_specs
from tfhf.models.generative import TFGenerativeModel, mask_of_cache
from tfhf.models.seq2seq import STATES, as_encoder_output
from tfhf.models.seq2seq_base import TFSeq2SeqPreTrainedModel
from tfhf.outputs import TFBaseModelOutput, TFSeq2SeqLMOutput


class TFEncoderDecoderModel(TFGenerativeModel, TFSeq2SeqPreTrainedModel):
    """An encoder, and a decoder that looks at its states: BERT to BERT, BERT to GPT-2, ….

    Where their sizes differ, a dense layer maps the states: ``enc_to_dec_proj``.

    Args:
        config: the configurations of both; default: those of the two models.
        encoder: a model without a head; default: a new one.
        decoder: a model that scores the next token and has cross-attention; default: a new one.
        **kwargs: ``dtype`` and ``name``.

    Raises:
        ValueError: neither a configuration nor both models, or models that do not fit.

    Example:
        >>> from transformers import BertConfig, EncoderDecoderConfig
        >>> import tfhf
        >>> tiny = BertConfig(hidden_size=4, num_attention_heads=1, num_hidden_layers=1)
        >>> config = EncoderDecoderConfig.from_encoder_decoder_configs(tiny, tiny)
        >>> model = tfhf.TFEncoderDecoderModel(config)
        >>> ids = tf.constant([[101, 102]])
        >>> model(ids, decoder_input_ids=ids).logits.shape
        TensorShape([1, 2, 30522])
    """

    config_class = EncoderDecoderConfig
    base_model_prefix = "encoder_decoder"
    weight_table = WeightTable(
        prefix="encoder_decoder", body={"enc_to_dec_proj": Dense("enc_to_dec_proj")}
    )
    label_outputs = {"labels": "logits"}
    input_names: ClassVar[tuple[str, ...]] = (
        "input_ids",
        "attention_mask",
        "decoder_input_ids",
        "decoder_attention_mask",
        "encoder_outputs",
        "past_key_values",
        "inputs_embeds",
        "decoder_inputs_embeds",
        "token_type_ids",
        "position_ids",
        "head_mask",
        "decoder_token_type_ids",
        "decoder_position_ids",
        "decoder_head_mask",
        "use_cache",
        "cache_position",
    )

    def __init__(
        self,
        config: EncoderDecoderConfig | None = None,
        encoder: TFPreTrainedModel | None = None,
        decoder: Any = None,
        **kwargs: Any,
    ) -> None:
        if config is None:
            if encoder is None or decoder is None:
                raise ValueError("give a config, or an encoder and a decoder")
            config = EncoderDecoderConfig.from_encoder_decoder_configs(
                encoder.config, decoder.config
            )
        if decoder is not None:
            kwargs.setdefault("dtype", decoder.dtype_policy)
        super().__init__(config, **kwargs)
        dtype = self.dtype_policy
        if encoder is None:
            encoder = TFAutoModel.from_config(config.encoder, name="encoder", dtype=dtype)
        if decoder is None:
            decoder = TFAutoModelForCausalLM.from_config(
                config.decoder, name="decoder", dtype=dtype
            )
        _require_parts(encoder, decoder)
        self.encoder, self.decoder = encoder, decoder
        config.encoder, config.decoder = encoder.config, decoder.config  # a change is one of both
        sizes = encoder.config.hidden_size, decoder.config.hidden_size
        self.enc_to_dec_proj = None
        if sizes[0] != sizes[1]:
            self.enc_to_dec_proj = DenseLayer(*sizes, name="enc_to_dec_proj", dtype=dtype)
        parts = {"encoder": encoder.weight_table, "decoder": decoder.weight_table}
        self.weight_table = WeightTable(
            prefix=self.base_model_prefix,
            body=self.weight_table.body,
            tied={
                f"{part}.{copy}": f"{part}.{name}"
                for part, table in parts.items()
                for copy, name in table.tied.items()
            },
            ignored=tuple(pattern for table in parts.values() for pattern in table.ignored),
            parts=parts,
        )
        self.build()

    @classmethod
    def from_encoder_decoder_pretrained(
        cls,
        encoder_pretrained_model_name_or_path: str | os.PathLike | None = None,
        decoder_pretrained_model_name_or_path: str | os.PathLike | None = None,
        **kwargs: Any,
    ) -> TFEncoderDecoderModel:
        """Join two checkpoints; cross-attention that the decoder's lacks starts with random values.

        Args:
            encoder_pretrained_model_name_or_path: a folder or a Hub id.
            decoder_pretrained_model_name_or_path: the same for the decoder.
            **kwargs: ``encoder_…`` and ``decoder_…``: arguments of the ``from_pretrained`` of one,
                or ``encoder_model`` and ``decoder_model`` in place of a checkpoint; others change
                the configuration of both together (``pad_token_id``).

        Raises:
            ValueError: there is neither a checkpoint nor a model of one of them.

        Example:
            >>> import tfhf
            >>> model = tfhf.TFEncoderDecoderModel.from_encoder_decoder_pretrained(
            ...     "bert-base-uncased", "gpt2", decoder_attn_pdrop=0.0)  # doctest: +SKIP
        """
        paths = {
            "encoder": encoder_pretrained_model_name_or_path,
            "decoder": decoder_pretrained_model_name_or_path,
        }
        models = {}
        for part, path in paths.items():
            own = EncoderDecoderConfig  # decoder_start_token_id is not the decoder's
            names = [n for n in kwargs if n.startswith(f"{part}_") and not hasattr(own, n)]
            options = {name.removeprefix(f"{part}_"): kwargs.pop(name) for name in names}
            models[part] = options.pop("model", None) or _load_part(part, path, options)
        config = EncoderDecoderConfig.from_encoder_decoder_configs(
            models["encoder"].config, models["decoder"].config, **kwargs
        )
        return cls(config, **models)

    @classmethod
    def scoring_part(cls, config: Any) -> tuple[Any, WeightTable, str]:
        """Return the decoder's configuration, its weights, and how their names begin."""
        decoder = TFAutoModelForCausalLM.model_class(config.decoder)
        return config.decoder, decoder.weight_table, "decoder."

    # Parts --------------------------------------------------------------------------------------

    @property
    def max_length(self) -> int | None:
        """The number of tokens that the decoder has positions for."""
        return self.decoder.max_length

    @property
    def max_source_length(self) -> int | None:
        """The number of tokens that the encoder has positions for."""
        return self.encoder.max_length

    @property
    def input_signature(self) -> dict[str, tf.TensorSpec]:
        """The token inputs of both parts: int32 [batch, length] each."""
        ids = token_specs("decoder_input_ids", "decoder_attention_mask")
        return self.encoder.input_signature | ids

    def get_input_embeddings(self) -> Embedding:
        """Return the encoder's table of tokens."""
        return self.encoder.get_input_embeddings()

    def get_decoder_embeddings(self) -> Embedding:
        """Return the decoder's table of tokens."""
        return self.decoder.get_input_embeddings()

    def resize_token_embeddings(self, new_num_tokens: int | None = None) -> Embedding:
        """Refuse: it is not said whose tokens are meant.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "resize the tokens of one part: model.encoder.resize_token_embeddings(…) or "
            "model.decoder.resize_token_embeddings(…)"
        )

    # Calling ------------------------------------------------------------------------------------

    def call(
        self,
        input_ids: tf.Tensor | None = None,
        attention_mask: tf.Tensor | None = None,
        decoder_input_ids: tf.Tensor | None = None,
        decoder_attention_mask: tf.Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        inputs_embeds: tf.Tensor | None = None,
        decoder_inputs_embeds: tf.Tensor | None = None,
        labels: tf.Tensor | None = None,
        use_cache: bool | None = None,
        cache_position: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        training: bool = False,
        **others: Any,
    ) -> Any:
        """Read a source, and a target that looks at it; score the target's next tokens.

        Arguments are as for a `TFSeq2SeqModel`, and ``labels``, int [batch, decoder length], of
        which -100 is ignored: they are what the target is to be, not shifted in the loss. Where no
        ``decoder_input_ids`` are given, these are made of them by shifting.
        ``others``: more inputs of the encoder and, with ``decoder_`` before the name, of the
        decoder.
        """
        if labels is not None and decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
            if decoder_attention_mask is None:
                padding = tf.cast(self.config.pad_token_id, decoder_input_ids.dtype)
                decoder_attention_mask = tf.cast(decoder_input_ids != padding, tf.int32)
        flags = self.output_flags(output_attentions, output_hidden_states) | {"training": training}
        for_decoder = {
            name.removeprefix("decoder_"): others.pop(name)
            for name in list(others)
            if name.startswith("decoder_")
        }
        encoded = TFBaseModelOutput()
        has_source = any(each is not None for each in (input_ids, inputs_embeds, encoder_outputs))
        if has_source or past_key_values is None:
            encoded = self.encode(
                input_ids,
                attention_mask,
                encoder_outputs=encoder_outputs,
                inputs_embeds=inputs_embeds,
                **others,
                **flags,
            )
        decoded = self.decode(
            decoder_input_ids,
            decoder_attention_mask,
            encoded.last_hidden_state,
            attention_mask,
            inputs_embeds=decoder_inputs_embeds,
            past_key_values=past_key_values,
            cache_position=cache_position,
            use_cache=use_cache,
            **for_decoder,
            **flags,
        )
        logits = self.score(decoded.last_hidden_state)
        loss = None if labels is None else cross_entropy(labels, logits, argument="labels")
        return TFSeq2SeqLMOutput.of(
            loss=loss,
            logits=logits,
            past_key_values=decoded.past_key_values,
            cross_attentions=decoded.cross_attentions,
            **{f"decoder_{name}": decoded[name] for name in STATES if name in decoded},
            **{f"encoder_{name}": value for name, value in encoded.items()},
        )

    def encode(
        self,
        input_ids: tf.Tensor | None,
        attention_mask: tf.Tensor | None,
        *,
        encoder_outputs: Any = None,
        **inputs: Any,
    ) -> TFBaseModelOutput:
        """Return the encoder's states, or those that are given; ``inputs`` are the encoder's."""
        if encoder_outputs is None:
            encoder_outputs = self.encoder(
                input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **inputs
            )
        return as_encoder_output(encoder_outputs)

    def decode(
        self,
        input_ids: tf.Tensor | None,
        attention_mask: tf.Tensor | None,
        encoder_hidden_states: tf.Tensor | None,
        encoder_attention_mask: tf.Tensor | None,
        **inputs: Any,
    ) -> Any:
        """Return what the decoder's body makes of a target; ``inputs`` are the body's."""
        if encoder_hidden_states is not None and self.enc_to_dec_proj is not None:
            encoder_hidden_states = self.enc_to_dec_proj(encoder_hidden_states)
        return self.decoder.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            return_dict=True,
            **inputs,
        )

    # Generation ---------------------------------------------------------------------------------

    def score(self, states: tf.Tensor) -> tf.Tensor:
        """Return the scores [rows, length, vocab_size] of the token after each state."""
        return self.decoder.score(states)

    def prompt_states(
        self,
        decoder_input_ids: tf.Tensor,
        decoder_attention_mask: tf.Tensor,
        room: tf.Tensor | int,
        /,
        input_ids: tf.Tensor | None = None,
        attention_mask: tf.Tensor | None = None,
        **inputs: Any,
    ) -> tuple[tf.Tensor, Any]:
        """Return the states of the decoder's first tokens, and the cache; see `read_prompt`."""
        encoded = self.encode(input_ids, attention_mask, **inputs)
        decoded = self.decode(
            decoder_input_ids,
            decoder_attention_mask,
            encoded.last_hidden_state,
            attention_mask,
            use_cache=True,
        )
        return decoded.last_hidden_state, make_room(decoded.past_key_values, room)

    def token_states(
        self,
        decoder_input_ids: tf.Tensor,
        cache: Any,
        decoder_attention_mask: tf.Tensor,
        position: tf.Tensor,
        /,
        attention_mask: tf.Tensor | None = None,
        **inputs: Any,
    ) -> tuple[tf.Tensor, Any]:
        """Return the states of the decoder's next tokens, and the cache: see `read_tokens`."""
        decoded = self.decode(
            decoder_input_ids,
            mask_of_cache(decoder_attention_mask, cache),
            None,
            attention_mask,
            past_key_values=cache,
            cache_position=position,
            use_cache=True,
        )
        return decoded.last_hidden_state, decoded.past_key_values


def _require_parts(encoder: TFPreTrainedModel, decoder: Any) -> None:
    """Raise where one of two models cannot be its part."""
    if encoder.can_generate:
        raise ValueError(
            f"the encoder must be a model without a head, but is a {type(encoder).__name__}"
        )
    name = type(decoder).__name__
    if not decoder.can_generate or "encoder_hidden_states" not in decoder.input_names:
        raise ValueError(
            f"the decoder must score the next token and have cross-attention, which {name} cannot"
        )
    if not decoder.config.add_cross_attention:
        raise ValueError(f"the decoder, a {name}, needs config.add_cross_attention=True")


def _load_part(part: str, path: Any, options: dict[str, Any]) -> TFPreTrainedModel:
    """Return the model of one checkpoint, with cross-attention if it is to be the decoder."""
    if path is None:
        raise ValueError(
            f"give {part}_pretrained_model_name_or_path, the checkpoint of the {part}, or "
            f"{part}_model"
        )
    config = options.pop("config", None)
    if config is None:
        hub = {name: options[name] for name in HUB_ARGUMENTS if name in options}
        config = AutoConfig.from_pretrained(path, **hub)
    config.is_decoder = config.add_cross_attention = part == "decoder"
    auto = TFAutoModelForCausalLM if part == "decoder" else TFAutoModel
    return auto.from_pretrained(path, config=config, **options)
