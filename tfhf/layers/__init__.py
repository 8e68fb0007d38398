"""The building blocks of every model. Nothing here knows an architecture or a parameter's name."""

from tfhf.layers.activations import get_tf_activation
from tfhf.layers.attention import MultiHeadAttention, attention_bias
from tfhf.layers.core import (
    Block,
    Dense,
    Embedding,
    LayerNorm,
    Normalization,
    RMSNorm,
    resize,
)
from tfhf.layers.disentangled import (
    ConvolvedLayer,
    DisentangledAttention,
    DisentangledContext,
    DisentangledStack,
    NeighbourConvolution,
    RelativePositions,
    RelativePositionTable,
)
from tfhf.layers.dropout import Dropout
from tfhf.layers.embeddings import InputEmbeddings, blank_unseen
from tfhf.layers.heads import ClassificationHead, LanguageModelingHead
from tfhf.layers.initializers import Normal, loading_weights
from tfhf.layers.positions import (
    RelativePositionBias,
    SinusoidalPositions,
    relative_position_buckets,
    signed_position_buckets,
    sinusoidal_positions,
)
from tfhf.layers.rotary import Rotation, rotary_angles, rotate
from tfhf.layers.sliding_window import SlidingWindowAttention, window_layout, window_mask
from tfhf.layers.transformer import (
    FeedForward,
    GatedFeedForward,
    PreNormLayer,
    TransformerLayer,
    TransformerStack,
)

__all__ = [
    "Block",
    "ClassificationHead",
    "ConvolvedLayer",
    "Dense",
    "DisentangledAttention",
    "DisentangledContext",
    "DisentangledStack",
    "Dropout",
    "Embedding",
    "FeedForward",
    "GatedFeedForward",
    "InputEmbeddings",
    "LanguageModelingHead",
    "LayerNorm",
    "MultiHeadAttention",
    "NeighbourConvolution",
    "Normal",
    "Normalization",
    "PreNormLayer",
    "RMSNorm",
    "RelativePositionBias",
    "RelativePositionTable",
    "RelativePositions",
    "Rotation",
    "SinusoidalPositions",
    "SlidingWindowAttention",
    "TransformerLayer",
    "TransformerStack",
    "attention_bias",
    "blank_unseen",
    "get_tf_activation",
    "loading_weights",
    "relative_position_buckets",
    "resize",
    "rotary_angles",
    "rotate",
    "signed_position_buckets",
    "sinusoidal_positions",
    "window_layout",
    "window_mask",
]
