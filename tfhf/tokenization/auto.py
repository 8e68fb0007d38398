"""Transformers' own tokenizers, which here also answer ``return_tensors="tf"``."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import transformers
from transformers import BatchEncoding, PreTrainedTokenizerBase


class AutoTokenizer:
    """Loads the tokenizer of a checkpoint.

    What comes back is Transformers' own tokenizer object, fast or pure Python, with its class name,
    its files and its methods. Besides ``"np"`` and ``"pt"``, its ``__call__``, ``encode``, ``pad``
    and ``apply_chat_template`` answer ``return_tensors="tf"``.
    """

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str, *inputs: Any, **kwargs: Any
    ) -> "TensorFlowTokenizer":
        """Load a tokenizer from a folder or from a repository of the Hub.

        Args:
            pretrained_model_name_or_path: The folder, or the name of the repository.
            *inputs: What the tokenizer's own constructor takes.
            **kwargs: What ``transformers.AutoTokenizer.from_pretrained`` takes.

        Raises:
            ValueError: ``trust_remote_code=True``: code that comes with a checkpoint is never run.

        Example:
            >>> import tempfile, transformers
            >>> vocab = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "good": 4, "morning": 5}
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     saved = transformers.BertTokenizer(vocab=vocab).save_pretrained(folder)
            ...     tokenizer = AutoTokenizer.from_pretrained(folder)
            >>> tokens = tokenizer(["Good morning", "Hello"], padding=True, return_tensors="tf")
            >>> tokens.input_ids.numpy()
            array([[2, 4, 5, 3],
                   [2, 1, 3, 0]], dtype=int32)

        """
        if kwargs.pop("trust_remote_code", False):
            raise ValueError(
                "trust_remote_code=True: tfhf never runs code that comes with a checkpoint. Load "
                "the tokenizer with Transformers and pass it to tfhf.tensorflow_tokenizer."
            )
        return tensorflow_tokenizer(
            transformers.AutoTokenizer.from_pretrained(
                pretrained_model_name_or_path, *inputs, trust_remote_code=False, **kwargs
            )
        )


def tensorflow_tokenizer(tokenizer: PreTrainedTokenizerBase) -> "TensorFlowTokenizer":
    """Teach a tokenizer of Transformers to answer ``return_tensors="tf"``.

    The object itself learns it: nothing is copied, and it remains an instance of its class.

    Raises:
        TypeError: ``tokenizer`` is no tokenizer of Transformers.

    Example:
        >>> from transformers import BertTokenizer
        >>> vocab = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}
        >>> tokenizer = tensorflow_tokenizer(BertTokenizer(vocab=vocab))
        >>> tokenizer("Hello", return_tensors="tf").input_ids.numpy().tolist()
        [[1, 0, 2]]

    """
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise TypeError(
            f"tokenizer: expected a tokenizer of Transformers, got {type(tokenizer).__name__}"
        )
    if not isinstance(tokenizer, TensorFlowTokenizer):
        tokenizer.__class__ = _tensorflow_class(tokenizer.__class__)
    return tokenizer


class TensorFlowTokenizer(PreTrainedTokenizerBase):
    """What ``tensorflow_tokenizer`` puts before a tokenizer's own class.

    Integer tensors are int32, as those of the tokenizers of Transformers 4.
    """

    def __call__(
        self, *args: Any, return_tensors: str | None = None, **kwargs: Any
    ) -> BatchEncoding:
        """Tokenize, as the tokenizer of Transformers does.

        Raises:
            ValueError: ``return_tensors="tf"`` and the rows have different lengths.

        """
        return _answer(super().__call__, return_tensors, *args, **kwargs)

    def encode(self, *args: Any, return_tensors: str | None = None, **kwargs: Any) -> Any:
        """Give the token ids of a text; as a tensor, of shape ``[1, length]``."""
        return _answer(super().encode, return_tensors, *args, **kwargs)

    def apply_chat_template(
        self, *args: Any, return_tensors: str | None = None, **kwargs: Any
    ) -> Any:
        """Render a conversation, and tokenize it unless ``tokenize=False``."""
        return _answer(super().apply_chat_template, return_tensors, *args, **kwargs)

    def pad(
        self, encoded_inputs: Any, *args: Any, return_tensors: str | None = None, **kwargs: Any
    ) -> BatchEncoding:
        """Pad rows of lists, arrays or tensors; for tensors ``return_tensors`` is ``"tf"``."""
        plain = _without_tensors(encoded_inputs)
        if plain is not encoded_inputs and return_tensors is None:
            return_tensors = "tf"
        return _answer(super().pad, return_tensors, plain, *args, **kwargs)

    def decode(self, token_ids: Any, *args: Any, **kwargs: Any) -> Any:
        """Give the text of a sequence of ids, or of several. ``batch_decode`` comes here too."""
        return super().decode(_without_tensors(token_ids), *args, **kwargs)

    def __reduce_ex__(self, protocol: Any) -> tuple:
        # The class of this object was made at run time, so a pickle names that of Transformers.
        _, _, *state = super().__reduce_ex__(protocol)
        return (_empty_tokenizer, (type(self).__bases__[1],), *state)


@functools.cache
def _tensorflow_class(tokenizer_class: type) -> type:
    # save_pretrained writes the name, by which every Hugging Face library finds the class again.
    # The first copy of an object adds __slotnames__ to its class, of which datasets hashes all that
    # is in it: a tokenizer would have another hash, and its cached data be computed anew.
    bases = (TensorFlowTokenizer, tokenizer_class)
    return type(tokenizer_class.__name__, bases, {"__slotnames__": []})


def _empty_tokenizer(tokenizer_class: type) -> TensorFlowTokenizer:
    return object.__new__(_tensorflow_class(tokenizer_class))


def _answer(method: Callable, return_tensors: str | None, *args: Any, **kwargs: Any) -> Any:
    """Call a method of Transformers, by way of NumPy where TensorFlow's tensors are wanted."""
    if return_tensors != "tf":
        return method(*args, return_tensors=return_tensors, **kwargs)
    answer = method(*args, return_tensors="np", **kwargs)
    if isinstance(answer, BatchEncoding):
        for name, rows in answer.items():
            answer[name] = _tensor(name, rows)
    elif isinstance(answer, np.ndarray):
        answer = _tensor("input_ids", answer)
    return answer


def _tensor(name: str, rows: Any) -> tf.Tensor:
    array = np.asarray(rows)
    if array.dtype == object:
        raise ValueError(
            f"return_tensors='tf': the rows of {name!r} have different lengths, which one tensor "
            "cannot hold. Pass padding=True, and truncation=True where they may be too long."
        )
    whole = array.dtype.kind in "iub" or not array.size
    return tf.constant(array.astype(np.int32) if whole else array)


def _without_tensors(value: Any) -> Any:
    """Put lists in place of TensorFlow's tensors; give the value itself where it has none."""
    if isinstance(value, tf.RaggedTensor):
        return value.to_list()
    if isinstance(value, tf.Tensor):
        return value.numpy().tolist()
    if isinstance(value, Mapping):
        plain = {name: _without_tensors(item) for name, item in value.items()}
        return plain if any(plain[name] is not item for name, item in value.items()) else value
    if isinstance(value, list | tuple) and value and not isinstance(value[0], int | str):
        items = [_without_tensors(item) for item in value]
        return items if any(new is not old for new, old in zip(items, value)) else value
    return value
