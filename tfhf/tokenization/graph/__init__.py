"""Tokenizers that run inside a TensorFlow graph."""

from tfhf.tokenization.graph.bert import TFBertTokenizer
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError
from tfhf.tokenization.graph.gpt2 import TFGPT2Tokenizer
from tfhf.tokenization.graph.tokenizer import GraphTokenizer

__all__ = ["GraphTokenizer", "TFBertTokenizer", "TFGPT2Tokenizer", "UnsupportedTokenizerError"]
