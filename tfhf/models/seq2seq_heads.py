"""The head of every encoder-decoder that writes: scores for the next token of a target."""

from __future__ import annotations

from typing import Any, ClassVar

import tensorflow as tf

from tfhf.layers.cache import make_room
from tfhf.modeling import token_specs
from tfhf.models.generative import TFGenerativeModel, mask_of_cache
from tfhf.models.heads import Tensors
from tfhf.models.seq2seq_base import TFSeq2SeqPreTrainedModel
from tfhf.outputs import ModelOutput, TFSeq2SeqLMOutput

#: Inputs that what follows a prompt needs, too, when the encoder is done.
LATER_INPUTS = ("attention_mask", "decoder_head_mask", "cross_attn_head_mask")


class TFForConditionalGeneration(TFGenerativeModel, TFSeq2SeqPreTrainedModel):
    """Scores for the next token of a target; ``labels``, int [batch, decoder length], are it.

    They are not shifted in the loss, and -100 is ignored; ``decoder_input_ids``, where none are
    given, are made of them by shifting.
    """

    label_outputs = {"labels": "logits"}
    output_type: ClassVar[type[ModelOutput]] = TFSeq2SeqLMOutput

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.add_body()
        self.lm_head = self.make_lm_head()
        self.build()

    def call(
        self,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        use_cache: bool | None = None,
        training: bool = False,
        **inputs: Any,
    ) -> Any:
        """Run the body, then the head; see `TFModelWithHead.call`."""
        if "labels" in inputs:
            use_cache = bool(use_cache)
            if not {"decoder_input_ids", "decoder_inputs_embeds"} & set(inputs):
                labels = inputs["labels"]
                inputs["decoder_input_ids"] = self.prepare_decoder_input_ids_from_labels(labels)
        return super().call(
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            use_cache=use_cache,
            training=training,
            **inputs,
        )

    @property
    def input_signature(self) -> dict[str, tf.TensorSpec]:
        """The token inputs that the model is served with: int32 [batch, length] each."""
        return super().input_signature | token_specs("decoder_input_ids", "decoder_attention_mask")

    def logits(self, body: Any, inputs: Tensors, training: bool) -> Tensors:
        """Score all tokens of the vocabulary at each position of the target."""
        return {"logits": self.score(body.last_hidden_state)}

    def score(self, states: tf.Tensor) -> tf.Tensor:
        """Return the scores [rows, length, vocab_size] of the token after each state."""
        return self.lm_head(states, embeddings=self.get_decoder_embeddings())

    def prompt_states(
        self,
        decoder_input_ids: tf.Tensor,
        decoder_attention_mask: tf.Tensor,
        room: tf.Tensor | int,
        /,
        **inputs: Any,
    ) -> tuple[tf.Tensor, Any]:
        """Return the states of the decoder's first tokens, and the cache; see `read_prompt`.

        The source is among ``inputs``; its keys and values are computed here alone.
        """
        body = self.base_model(
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            use_cache=True,
            return_dict=True,
            **inputs,
        )
        return body.last_hidden_state, make_room(body.past_key_values, room)

    def token_states(
        self,
        decoder_input_ids: tf.Tensor,
        cache: Any,
        decoder_attention_mask: tf.Tensor,
        position: tf.Tensor,
        /,
        **inputs: Any,
    ) -> tuple[tf.Tensor, Any]:
        """Return the states of the decoder's next tokens, and the cache: see `read_tokens`."""
        body = self.base_model(
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=mask_of_cache(decoder_attention_mask, cache),
            past_key_values=cache,
            cache_position=position,
            use_cache=True,
            return_dict=True,
            **{name: inputs[name] for name in LATER_INPUTS if name in inputs},
        )
        return body.last_hidden_state, body.past_key_values
