"""Streamers: text as it is generated, printed or iterated over.

They are Transformers' own, which decide when a word is final; here they take TensorFlow's tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import transformers


class TextStreamer(transformers.TextStreamer):
    """Prints the words of one sequence as they become final.

    Args:
        tokenizer: the model's.
        skip_prompt: leave out the first tokens that come, which are the prompt.
        **decode_kwargs: for ``tokenizer.decode``, as ``skip_special_tokens=True``.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> backend = Tokenizer(models.WordLevel({"?": 0, "good": 1, "film": 2}, unk_token="?"))
        >>> tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend)
        >>> streamer = TextStreamer(tokenizer)
        >>> streamer.put(np.array([1, 2]))
        good
        >>> streamer.put(np.array([2]))
        film
        >>> streamer.end()
        film
    """

    def put(self, value: Any) -> None:
        """Take the next tokens, and print the words that they complete.

        Args:
            value: int [1, length] or [length], a tensor, an array or a list.

        Raises:
            ValueError: there is more than one row.
        """
        tokens = np.asarray(value)
        if tokens.ndim > 1 and len(tokens) != 1:
            raise ValueError(f"a streamer takes one row, but value has the shape {tokens.shape}")
        super().put(tokens.reshape(-1))


class TextIteratorStreamer(TextStreamer, transformers.TextIteratorStreamer):
    """Gives the text of one sequence piece by piece, while another thread generates it.

    Args:
        tokenizer: the model's.
        skip_prompt: leave out the first tokens that come, which are the prompt.
        timeout: seconds to wait for the next piece, then ``queue.Empty`` is raised; ``None``: for
            ever.
        **decode_kwargs: for ``tokenizer.decode``, as ``skip_special_tokens=True``.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> backend = Tokenizer(models.WordLevel({"?": 0, "good": 1, "film": 2}, unk_token="?"))
        >>> tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend)
        >>> streamer = TextIteratorStreamer(tokenizer, timeout=9)
        >>> streamer.put(np.array([1, 2]))  # in the thread that generates
        >>> streamer.end()
        >>> list(streamer)
        ['good ', 'film']
    """
