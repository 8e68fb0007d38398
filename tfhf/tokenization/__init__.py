"""Tokenizers: those of Transformers, with tensors; in ``graph``, the same as TensorFlow ops."""

from tfhf.tokenization.auto import AutoTokenizer, tensorflow_tokenizer

__all__ = ["AutoTokenizer", "tensorflow_tokenizer"]
