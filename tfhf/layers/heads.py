"""What stands between a body and what it is to say: classes, or the scores of tokens."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfhf.layers.activations import Activation
from tfhf.layers.core import Block, Dense, Embedding, LayerNorm, resize
from tfhf.layers.dropout import Dropout


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
        use_bias: whether the last dense layer has a bias.
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
        use_bias: bool = True,
        stddev: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        options = {"stddev": stddev, "dtype": self.dtype_policy}
        self.hidden = None
        if hidden_activation is not None:
            self.hidden_dropout = Dropout(hidden_dropout, dtype=self.dtype_policy)
            self.hidden = Dense(
                hidden_size,
                hidden_size,
                activation=hidden_activation,
                use_bias=hidden_bias,
                name="hidden",
                **options,
            )
        self.norm = hidden_norm
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.out = Dense(hidden_size, num_labels, use_bias=use_bias, name="out", **options)

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

    Without ``activation`` the scores are those of the states as they come. With ``tied`` they come
    from the embedding table that the call is given, plus ``bias``; else from a dense layer
    ``decoder``. Each part may go without its bias. With ``fixed_bias`` there is, tied or not, a
    ``bias`` that training leaves as it is. ``softcap`` bounds the scores as in Gemma 2.
    Reference: ``BertLMPredictionHead``, ``LlamaForCausalLM``, ``BartForConditionalGeneration``.
    """

    def __init__(
        self,
        hidden_size: int,
        embedding_size: int,
        vocab_size: int,
        *,
        tied: bool,
        stddev: float,
        activation: Activation | None = None,
        epsilon: float = 0.0,
        transform_bias: bool = True,
        norm_bias: bool = True,
        decoder_bias: bool = True,
        fixed_bias: bool = False,
        softcap: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.transform = self.norm = None
        if activation is not None:
            self.transform = Dense(
                hidden_size,
                embedding_size,
                activation=activation,
                use_bias=transform_bias,
                stddev=stddev,
                name="transform",
                dtype=dtype,
            )
            self.norm = LayerNorm(
                embedding_size, epsilon, use_bias=norm_bias, name="norm", dtype=dtype
            )
        self.softcap = softcap
        self.vocab_size = vocab_size
        self.use_bias = decoder_bias
        self.fixed_bias = fixed_bias
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
        """Create the variables; ``bias`` [vocab_size] where it is fixed, or there is no decoder."""
        if self.fixed_bias or (self.decoder is None and self.use_bias):
            self.bias = self.add_weight(
                name="bias",
                shape=(self.vocab_size,),
                initializer=self.bias_initializer,
                trainable=not self.fixed_bias,
            )
        super().build()

    def resize(self, vocab_size: int) -> None:
        """Score another number of tokens."""
        if self.decoder is not None:
            self.decoder.resize(vocab_size)
        if self.bias is not None:
            resize(self, "bias", vocab_size)
        self.vocab_size = vocab_size

    def call(self, hidden_states: tf.Tensor, embeddings: Embedding) -> tf.Tensor:
        """Map [batch, length, hidden_size] to float32 logits [batch, length, vocab_size]."""
        x = hidden_states
        if self.transform is not None and self.norm is not None:
            x = self.norm(self.transform(x))
        scores = embeddings.project(x) if self.decoder is None else self.decoder(x)
        scores = tf.cast(scores, tf.float32)
        if self.bias is not None:
            scores = tf.nn.bias_add(scores, tf.cast(self.bias, tf.float32))
        if self.softcap is not None:
            scores = self.softcap * tf.tanh(scores / self.softcap)
        return scores
