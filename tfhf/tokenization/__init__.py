"""Tokenizers: those of Transformers, with tensors; in ``graph``, the same as TensorFlow ops."""

from tfhf.tokenization.auto import AutoTokenizer, tensorflow_tokenizer
from tfhf.tokenization.transfo_xl import TransfoXLTokenizer

__all__ = ["AutoTokenizer", "TransfoXLTokenizer", "tensorflow_tokenizer"]
