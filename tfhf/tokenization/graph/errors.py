"""The error for tokenizers that the graph cannot reproduce exactly."""

from __future__ import annotations


class UnsupportedTokenizerError(ValueError):
    """A part of a tokenizer has no exact counterpart inside a TensorFlow graph.

    Args:
        part: the part of the tokenizer, such as `"model"` or `"normalizer"`.
        found: what the tokenizer has there.
        expected: what would work.

    Example:
        >>> print(UnsupportedTokenizerError("model", "BPE", "WordPiece"))
        This tokenizer cannot run inside a TensorFlow graph: its model is BPE, expected WordPiece. \
Tokenize in Python and feed the ids to the model's `tokens` signature instead.
    """

    def __init__(self, part: str, found: str, expected: str) -> None:
        super().__init__(
            f"This tokenizer cannot run inside a TensorFlow graph: its {part} is {found}, expected "
            f"{expected}. Tokenize in Python and feed the ids to the model's `tokens` signature "
            "instead."
        )
