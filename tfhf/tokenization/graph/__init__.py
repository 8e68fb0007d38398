"""Tokenizers that run inside a TensorFlow graph."""

from tfhf.tokenization.graph.bert import TFBertTokenizer
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError
from tfhf.tokenization.graph.tokenizer import GraphTokenizer

__all__ = ["GraphTokenizer", "TFBertTokenizer", "UnsupportedTokenizerError"]
