"""A tokenizer inside the TensorFlow graph.

Ids, offsets and decoded texts are those of the `tokenizers` library (of SentencePiece for Marian)
but for one known rest: a Unigram tokenizer may cut a word otherwise whose scores sum up to more
than 2048, such as 420 asterisks in a row, if two ways to cut it are as good. What else could come
out differently is refused, with an `UnsupportedTokenizerError` that names it.
"""

from __future__ import annotations

import functools
import json
import reprlib
from collections.abc import Sequence
from typing import TypeAlias

import tensorflow as tf
from tokenizers import AddedToken, Tokenizer
from transformers import MarianTokenizer, PreTrainedTokenizerBase

from tfhf.tokenization.graph.added_tokens import AddedTokens
from tfhf.tokenization.graph.assembly import InputAssembler, Padding, read_template
from tfhf.tokenization.graph.decoding import Decoder
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError
from tfhf.tokenization.graph.marian import MarianDecoder, MarianPieces, marian_template
from tfhf.tokenization.graph.offsets import SpaceTrimmer, move_spans, read_space_trimmer
from tfhf.tokenization.graph.settings import TokenizerSettings, Truncation
from tfhf.tokenization.graph.stages import Stages, read_stages

Texts: TypeAlias = "tf.Tensor | Sequence[str] | Sequence[bytes]"


class GraphTokenizer(tf.Module):
    """Tokenizes strings with TensorFlow ops, id for id as the tokenizer that it was made from.

    It works in a `tf.data` pipeline and in a SavedModel, where there is no Python, and is fastest
    inside a `tf.function` or `tf.data.Dataset.map`. A `tf.Module` that is saved must hold it as an
    attribute, since it owns tables; Python that loads the SavedModel must `import tensorflow_text`,
    which TensorFlow Serving has built in.

    Attributes:
        assembler: what makes model inputs of the tokens.

    Example:
        >>> from transformers import BertTokenizer
        >>> tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "graph", "##s", "!"]
        >>> tokenizer = BertTokenizer({token: token_id for token_id, token in enumerate(tokens)})
        >>> graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer)
        >>> inputs = graph_tokenizer(["Graphs!", ""])
        >>> inputs["input_ids"].numpy().tolist()
        [[2, 5, 6, 7, 3], [2, 3, 0, 0, 0]]
        >>> list(inputs)
        ['input_ids', 'token_type_ids', 'attention_mask']
    """

    def __init__(
        self,
        backend: Tokenizer | MarianTokenizer,
        assembler: InputAssembler,
        *,
        split_special_tokens: bool,
    ) -> None:
        super().__init__()
        self.assembler = assembler
        self._backend = backend
        as_written, normalized = {}, {}
        if isinstance(backend, MarianTokenizer):
            as_written = backend.added_tokens_decoder
            stages = Stages(None, None, MarianPieces(backend))
        else:
            for token_id, token in backend.get_added_tokens_decoder().items():
                if token.normalized:
                    normalized[token_id] = _normalize(token, backend)
                else:
                    as_written[token_id] = token
            stages = read_stages(json.loads(backend.to_str()), join=not normalized)
        self._normalizer, self._prefix, self._model = stages
        self._added_tokens = AddedTokens(as_written, split_special_tokens=split_special_tokens)
        self._normalized_tokens = AddedTokens(normalized, split_special_tokens=split_special_tokens)

    @classmethod
    def from_tokenizer(
        cls,
        tokenizer: PreTrainedTokenizerBase | Tokenizer,
        *,
        padding: Padding = "longest",
        truncation: bool | Truncation = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
    ) -> GraphTokenizer:
        """Compile a tokenizer of BERT, GPT-2, RoBERTa, BART, Llama, Qwen, Gemma, T5, ALBERT, XLNet,
        XLM-R, CamemBERT, mBART, Pegasus, DeBERTa-v2, Marian or another made of the same parts.

        The special tokens, the sides of padding and truncation, the padding token and the names of
        the model inputs are those of the tokenizer.

        Args:
            tokenizer: a fast tokenizer of Transformers, or one of the `tokenizers` library.
            padding: to the longest row of a batch, to `max_length`, or none: rows are ragged then.
            truncation: whether to cut rows down to `max_length`. Of a pair, the longer text gives
                way first, or else that which `"only_first"` or `"only_second"` says.
            max_length: the tokens of a row, special ones included. By default the tokenizer's
                `model_max_length`, or for one of `tokenizers` that of its truncation, if any.
            pad_to_multiple_of: what the length of padded rows shall be a multiple of.

        Raises:
            UnsupportedTokenizerError: if a part of the tokenizer cannot be reproduced exactly.
            ValueError: if an option has a value that it cannot have.
        """
        backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
        if not isinstance(backend, Tokenizer | MarianTokenizer):
            raise UnsupportedTokenizerError(
                "implementation",
                type(tokenizer).__name__,
                "a fast tokenizer of Transformers or a tokenizers.Tokenizer",
            )
        if isinstance(tokenizer, Tokenizer):
            settings = TokenizerSettings.of_tokenizers(tokenizer)
        else:
            settings = TokenizerSettings.of_transformers(tokenizer)
        if isinstance(backend, MarianTokenizer):
            single, pair = marian_template(backend), None
        else:
            single = read_template(backend.post_processor, 1)
            pair = read_template(backend.post_processor, 2)
        assembler = InputAssembler(
            settings,
            single=single,
            pair=pair,
            padding=padding,
            truncation=truncation,
            max_length=settings.max_length if max_length is None else max_length,
            pad_to_multiple_of=pad_to_multiple_of,
        )
        return cls(backend, assembler, split_special_tokens=settings.split_special_tokens)

    def __call__(
        self,
        text: Texts,
        text_pair: Texts | None = None,
        *,
        return_offsets_mapping: bool = False,
        return_position_ids: bool = False,
    ) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        """Tokenize a batch of texts, or of pairs, into model inputs.

        Args:
            text: a vector of n strings in UTF-8. What is none is replaced by U+FFFD, as
                `bytes.decode(errors="replace")` does.
            text_pair: n more, to be the second texts of pairs.
            return_offsets_mapping: whether to say as well where tokens start and end in their text.
            return_position_ids: whether to number the tokens as well, from 0 wherever a row starts.

        Returns:
            Those of `input_ids`, `token_type_ids` and `attention_mask` that the model takes: int32
            tensors [n, tokens], ragged without padding. An `offset_mapping` [n, tokens, 2] is in
            characters, and zero for special tokens and padding; so are `position_ids` [n, tokens]
            for padding.

        Raises:
            ValueError: if an argument is no vector of strings, or `max_length` has no room for the
                special tokens.
            UnsupportedTokenizerError: for pairs or offsets of Marian, which has none.
            tf.errors.InvalidArgumentError: if `text` and `text_pair` differ in their length.
        """
        texts = _vectors(text, text_pair)
        with tf.device("CPU:0"):  # there are no string ops elsewhere, and the rest is little work
            if return_offsets_mapping:
                tokens = self.assembler.truncate(self._tokenize_with_spans(texts))
                if self._space_trimmer is not None:  # which looks at the tokens that are left
                    tokens = [self._space_trimmer(text) for text in tokens]
                ids = [text.with_values(text.values[:, 0]) for text in tokens]
                spans = [text.with_values(text.values[:, 1:]) for text in tokens]
            else:
                ids, spans = self._tokenize(texts), None
            inputs = self.assembler(ids, spans, return_position_ids=return_position_ids)
        if self.assembler.padding:
            for tensor in inputs.values():  # the ops lose a static batch size, which TPUs need
                tensor.set_shape([texts[0].shape[0], *tensor.shape[1:]])
        return inputs

    def tokenize(self, text: Texts, text_pair: Texts | None = None) -> list[tf.RaggedTensor]:
        """Tokenize texts, or pairs, into int32 ids [n, (tokens)] without special tokens around.

        Returns:
            The ids of `text` and, if given, those of `text_pair`.
        """
        with tf.device("CPU:0"):
            return self._tokenize(_vectors(text, text_pair))

    def decode(
        self, ids: tf.Tensor | tf.RaggedTensor, *, skip_special_tokens: bool = True
    ) -> tf.Tensor:
        """Turn ids into text, as `tokenizer.decode` does.

        Args:
            ids: integers [n, tokens], ragged or not. Those that no token has are left out.
            skip_special_tokens: whether special tokens are left out as well.

        Returns:
            A vector of n strings.

        Raises:
            UnsupportedTokenizerError: if the decoder cannot be reproduced exactly.
            ValueError: if `ids` is no matrix of integers.

        Example:
            >>> from transformers import BertTokenizer
            >>> tokenizer = BertTokenizer({"[PAD]": 0, "[UNK]": 1, "graph": 2, "##s": 3})
            >>> graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, padding=False)
            >>> graph_tokenizer.decode([[2, 3, 0], [2, 2, 3]]).numpy().tolist()
            [b'graphs', b'graph graphs']
        """
        if not isinstance(ids, tf.RaggedTensor):
            ids = tf.convert_to_tensor(ids)
        if ids.shape.rank != 2 or not ids.dtype.is_integer:
            raise ValueError(
                f"ids: expected integers [n, tokens], got shape {ids.shape} and {ids.dtype.name}"
            )
        with tf.device("CPU:0"):
            return self._decoder(ids, skip_special_tokens=skip_special_tokens)

    @functools.cached_property
    def _decoder(self) -> Decoder | MarianDecoder:
        kind = MarianDecoder if isinstance(self._backend, MarianTokenizer) else Decoder
        with tf.init_scope():  # the first call may be inside a function
            return kind(self._backend, clean_up_spaces=self.assembler.settings.clean_up_spaces)

    @functools.cached_property
    def _space_trimmer(self) -> SpaceTrimmer | None:
        with tf.init_scope():
            return read_space_trimmer(self._backend)

    def _tokenize(self, texts: list[tf.Tensor]) -> list[tf.RaggedTensor]:
        joined, begins = _join(texts)
        ids = self._added_tokens(joined, begins, self._tokenize_between)
        return _part(ids, texts)

    def _tokenize_between(self, text: tf.Tensor, begins: tf.Tensor) -> tf.RaggedTensor:
        """Tokenize what stands between the added tokens that are found in the text as written."""
        if self._normalizer is not None:
            text = self._normalizer(text)
        return self._normalized_tokens(text, begins, self._tokenize_normalized)

    def _tokenize_normalized(self, text: tf.Tensor, begins: tf.Tensor) -> tf.RaggedTensor:
        """Tokenize normalized text that holds no added token."""
        if self._prefix is not None:
            text = self._prefix(text, begins)
        return self._model(text)

    def _tokenize_with_spans(self, texts: list[tf.Tensor]) -> list[tf.RaggedTensor]:
        """Do the same, with rows of three: the id, and where the token starts and ends."""
        joined, begins = _join(texts)
        tokens = self._added_tokens(joined, begins, self._spans_between, with_spans=True)
        return _part(tokens, texts)

    def _spans_between(self, text: tf.Tensor, begins: tf.Tensor) -> tf.RaggedTensor:
        if self._normalizer is None:
            return self._normalized_tokens(text, begins, self._spans_of_normalized, with_spans=True)
        text, source = self._normalizer.with_source(text)
        tokens = self._normalized_tokens(text, begins, self._spans_of_normalized, with_spans=True)
        return move_spans(tokens, source)

    def _spans_of_normalized(self, text: tf.Tensor, begins: tf.Tensor) -> tf.RaggedTensor:
        if self._prefix is None:
            return self._model.with_spans(text)
        text, source = self._prefix.with_source(text, begins)
        return move_spans(self._model.with_spans(text), source)


def _join(texts: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Join vectors of texts to one in valid UTF-8; all are beginnings of inputs."""
    joined = tf.concat(texts, axis=0)
    joined = tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8", errors="replace")
    return joined, tf.fill(tf.shape(joined), True)


def _part(tokens: tf.RaggedTensor, texts: list[tf.Tensor]) -> list[tf.RaggedTensor]:
    """Part the tokens of joined vectors of texts again."""
    num_rows = tf.size(texts[0])
    return [tokens[i * num_rows : (i + 1) * num_rows] for i in range(len(texts))]


def _normalize(token: AddedToken, backend: Tokenizer) -> AddedToken:
    """Give an added token the content that it has in normalized text."""
    if backend.normalizer is None:
        return token
    return AddedToken(
        backend.normalizer.normalize_str(token.content),
        single_word=token.single_word,
        lstrip=token.lstrip,
        rstrip=token.rstrip,
        special=token.special,
    )


def _vectors(text: Texts, text_pair: Texts | None) -> list[tf.Tensor]:
    """Check that the arguments are vectors of strings, of the same length."""
    texts = [_vector("text", text)]
    if text_pair is not None:
        texts.append(_vector("text_pair", text_pair))
        message = "text and text_pair: expected the same number of strings"
        tf.debugging.assert_equal(tf.size(texts[0]), tf.size(texts[1]), message)
    return texts


def _vector(name: str, text: Texts) -> tf.Tensor:
    """Check that an argument is a vector of strings."""
    try:
        strings = tf.convert_to_tensor(text, tf.string)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: expected a vector of strings, got {reprlib.repr(text)}"
        ) from error
    if strings.shape.rank not in (None, 1):
        raise ValueError(f"{name}: expected a vector of strings, got shape {strings.shape}")
    return tf.ensure_shape(strings, [None])
