"""The two heads of the first GPTs: the next token, and which of some texts is the right one."""

from __future__ import annotations

from typing import Any, ClassVar

import tensorflow as tf

from tfhf.layers import ClassificationHead, get_tf_activation
from tfhf.modeling import token_specs
from tfhf.models.heads import Tensors, TFForMultipleChoice
from tfhf.outputs import ModelOutput


class TFDoubleHeadsModel(TFForMultipleChoice):
    """Scores of the next token, and of each choice: of the state at its ``mc_token_ids``.

    ``logits`` are [batch, num_choices, length, vocab_size], ``mc_logits`` [batch, num_choices].
    Of ``hidden_states`` the last is [batch, num_choices, length, hidden_size], the others are
    [batch * num_choices, length, hidden_size], as PyTorch's. As in Transformers 4, there is no
    loss: train with one of Keras.

    Raises:
        ValueError: ``config.summary_type`` and its like ask for another score than that.
    """

    label_outputs: ClassVar[dict[str, str]] = {}
    output_type: ClassVar[type[ModelOutput]]
    input_names: ClassVar[tuple[str, ...]] = (
        "input_ids",
        "attention_mask",
        "token_type_ids",
        "position_ids",
        "head_mask",
        "inputs_embeds",
        "mc_token_ids",
        "use_cache",
    )

    def __init__(self, config: Any, **kwargs: Any) -> None:
        if config.summary_type != "cls_index":
            raise ValueError(
                f'config.summary_type must be "cls_index", not {config.summary_type!r}'
            )
        for name in ("summary_use_proj", "summary_proj_to_labels"):
            if not getattr(config, name):
                raise ValueError(f"config.{name} must be True")
        config.num_labels = 1
        super().__init__(config, **kwargs)

    def add_body(self) -> None:
        """Hold the body, and the head that scores tokens."""
        super().add_body()
        self.lm_head = self.make_lm_head()

    @property
    def input_signature(self) -> dict[str, tf.TensorSpec]:
        """The inputs that the model is served with, int32: tokens, and where a choice is scored."""
        return super().input_signature | token_specs("mc_token_ids")

    def make_choice_classifier(self, num_labels: int) -> ClassificationHead:
        """Return dropout and a dense layer."""
        return self.make_head(num_labels, dropout=self.config.summary_first_dropout)

    def call(
        self,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        use_cache: bool | None = None,
        training: bool = False,
        **inputs: tf.Tensor,
    ) -> Any:
        """Run the body, then both heads.

        Args:
            output_attentions: return attention weights; default as the configuration says.
            output_hidden_states: return the states after each layer.
            use_cache: return ``past_key_values``.
            training: apply dropout.
            **inputs: those of the body, each with an axis of choices, [batch, num_choices, …];
                ``mc_token_ids``, int [batch, num_choices], default: the last token.
        """
        outputs = super().call(
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            use_cache=use_cache,
            training=training,
            **inputs,
        )
        if outputs.hidden_states is not None:
            *earlier, last = outputs.hidden_states
            shape = tf.concat([tf.shape(outputs.logits)[:3], tf.shape(last)[-1:]], axis=0)
            outputs.hidden_states = (*earlier, tf.reshape(last, shape))
        return outputs

    def body_inputs(self, inputs: Tensors) -> Tensors:
        """Make each choice a row of its own."""
        return super().body_inputs(
            {name: value for name, value in inputs.items() if name != "mc_token_ids"}
        )

    def logits(self, body: Any, inputs: Tensors, training: bool) -> Tensors:
        """Score the next tokens, and the state of one token of each choice."""
        states = body.last_hidden_state
        tokens = inputs["input_ids"] if "input_ids" in inputs else inputs["inputs_embeds"]
        choices = tf.shape(tokens)[:2]
        scores = self.lm_head(states, embeddings=self.get_input_embeddings())
        vectors = states[:, -1]
        if "mc_token_ids" in inputs:
            where = tf.reshape(inputs["mc_token_ids"], [-1])
            vectors = tf.gather(states, where, batch_dims=1)
        activation = get_tf_activation(self.config.summary_activation or "linear")
        mc_scores = activation(self.classifier(vectors, training=training))
        return {
            "logits": tf.reshape(scores, tf.concat([choices, tf.shape(scores)[1:]], axis=0)),
            "mc_logits": tf.reshape(mc_scores, choices),
        }
