"""Transformer-XL's tokenizer of whole words, which Transformers 5 no longer has."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import transformers
from transformers import PreTrainedTokenizer

from tfhf.checkpoints.atomic import write_file
from tfhf.checkpoints.torch_file import read_object
from tfhf.models.transfo_xl_config import TransfoXLConfig
from tfhf.tokenization.auto import TensorFlowTokenizer, tensorflow_tokenizer

#: What old vocabularies hold beside words: counts, and the parts of Transformers 4's tokenizer.
OMITTED = (
    "collections.Counter",
    "re._compile",
    "sacremoses.normalize.MosesPunctNormalizer",
    "sacremoses.tokenize.MosesDetokenizer",
    "sacremoses.tokenize.MosesTokenizer",
    "tokenizers.AddedToken",
    "transformers.tokenization_utils.Trie",
)
UNKNOWN = ("<UNK>", "<unk>")


def read_vocabulary(path: str) -> list[str]:
    """Read the words of a vocabulary, in the order of their ids.

    Args:
        path: ``vocab.txt``, a word in each line; or ``vocab.pkl`` or ``vocab.bin``, a pickled dict
            with the list ``idx2sym``, of which no code is run.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it has no words, or one of them under several ids.
        CorruptCheckpointError, UnsafeCheckpointError: it is damaged, or asks for code to be run.
    """
    if path.endswith(".txt"):
        with open(path, encoding="utf-8") as file:
            words: Any = [*dict.fromkeys(line.split()[0] for line in file if line.strip())]
    else:
        content = read_object(path, OMITTED)
        words = content.get("idx2sym") if isinstance(content, dict) else None
    if not isinstance(words, list) or not words or not all(type(word) is str for word in words):
        raise ValueError(f"{path} holds no vocabulary: a list of words under the key 'idx2sym'")
    if len(set(words)) < len(words):
        raise ValueError(f"{path} has the same word under several ids")
    return words


class TransfoXLTokenizer(PreTrainedTokenizer):
    """Splits text into words, punctuation and the parts of numbers; unknown words are one token.

    Needs the package sacremoses as soon as it splits or joins words. The vocabulary is read from
    ``vocab.txt`` where there is one, and written to it, which Transformers 4 reads too. Reference:
    ``transformers.models.deprecated.transfo_xl`` of Transformers 4.57, without what built
    vocabularies from texts.

    Args:
        vocab_file: ``vocab.txt``.
        pretrained_vocab_file: ``vocab.pkl``, read if there is no ``vocab_file``.
        pretrained_vocab_file_torch: ``vocab.bin``, read if there is neither.
        lower_case: make text lower case first.
        delimiter: with ``""``, every character is a token.
        never_split: patterns that are not split; default: the special tokens.
        unk_token: stands for unknown words.
        eos_token: ends texts.
        language: whose rules sacremoses is to use.
        **kwargs: those of every tokenizer; ``extra_special_tokens`` are ``["<formula>"]``, if not
            given.

    Raises:
        ValueError: no file is given, or it holds no vocabulary.
        CorruptCheckpointError, UnsafeCheckpointError: see `read_vocabulary`.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "vocab.txt")
        >>> _ = path.write_text("<unk> <eos> 23 @,@ 000 people".replace(" ", chr(10)))
        >>> tokenizer = TransfoXLTokenizer(str(path))
        >>> tokenizer.tokenize("23,000 people ran")
        ['23', '@,@', '000', 'people', 'ran']
        >>> tokenizer("23,000 people ran").input_ids
        [2, 3, 4, 5, 0]
        >>> tokenizer.decode([2, 3, 4, 5])
        '23,000 people'
    """

    vocab_files_names = {
        "vocab_file": "vocab.txt",
        "pretrained_vocab_file": "vocab.pkl",
        "pretrained_vocab_file_torch": "vocab.bin",
    }
    model_input_names = ["input_ids"]

    def __init__(
        self,
        vocab_file: str | None = None,
        pretrained_vocab_file: str | None = None,
        pretrained_vocab_file_torch: str | None = None,
        *,
        lower_case: bool = False,
        delimiter: str | None = None,
        never_split: list[str] | None = None,
        unk_token: str = "<unk>",
        eos_token: str = "<eos>",
        language: str = "en",
        **kwargs: Any,
    ) -> None:
        path = vocab_file or pretrained_vocab_file or pretrained_vocab_file_torch
        if path is None:
            raise ValueError(
                "TransfoXLTokenizer needs a vocabulary: vocab.txt (vocab_file), vocab.pkl "
                "(pretrained_vocab_file) or vocab.bin (pretrained_vocab_file_torch)"
            )
        self.idx2sym = read_vocabulary(str(path))
        self.sym2idx = {word: i for i, word in enumerate(self.idx2sym)}
        self.lower_case = lower_case
        self.delimiter = delimiter
        self.language = language
        if "extra_special_tokens" not in kwargs:
            kwargs["extra_special_tokens"] = kwargs.pop("additional_special_tokens", ["<formula>"])
        super().__init__(
            lower_case=lower_case,
            delimiter=delimiter,
            never_split=never_split,
            unk_token=unk_token,
            eos_token=eos_token,
            language=language,
            **kwargs,
        )
        self.never_split = self.all_special_tokens if never_split is None else never_split

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> TensorFlowTokenizer:
        """Load a tokenizer, which answers ``return_tensors="tf"``, from a folder or the Hub."""
        return tensorflow_tokenizer(super().from_pretrained(*args, **kwargs))

    @property
    def do_lower_case(self) -> bool:
        """Whether text becomes lower case."""
        return self.lower_case

    @property
    def vocab_size(self) -> int:
        """The number of words, without tokens that were added."""
        return len(self.idx2sym)

    def get_vocab(self) -> dict[str, int]:
        """Return the id of every token."""
        return self.sym2idx | self.added_tokens_encoder

    def save_vocabulary(
        self, save_directory: str, filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write ``vocab.txt``, a word in each line.

        Raises:
            ValueError: a word has spaces in it, or is empty.
        """
        for word in self.idx2sym:
            if word.split() != [word]:
                raise ValueError(f"vocab.txt cannot hold the word {word!r}, which has spaces")
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        path = Path(save_directory, prefix + self.vocab_files_names["vocab_file"])
        write_file(path, "".join(f"{word}\n" for word in self.idx2sym))
        return (str(path),)

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        text = text.strip()
        if self.lower_case:
            text = text.lower()
        if self.delimiter == "":
            return list(text)
        words = _moses("MosesTokenizer", self.language).tokenize(
            _moses("MosesPunctNormalizer", self.language).normalize(text),
            aggressive_dash_splits=True,
            escape=False,
            protected_patterns=self.never_split,
        )
        return [part for word in words for part in _split_number(word)]

    def _convert_token_to_id(self, token: str) -> int:
        for word in (token, *UNKNOWN):
            if word in self.sym2idx:
                return self.sym2idx[word]
        raise ValueError(f"{token!r} is not in the vocabulary, which has no {self.unk_token}")

    def _convert_id_to_token(self, index: int) -> str:
        if not 0 <= index < len(self.idx2sym):
            raise ValueError(f"id {index} is not 0 to {len(self.idx2sym) - 1}")
        return self.idx2sym[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Join words into a text, and the parts of numbers into numbers."""
        text = _moses("MosesDetokenizer", self.language).detokenize(tokens)
        return re.sub(r" @([,.])@ ", r"\1", text).strip()


def _split_number(word: str) -> list[str]:
    """Split ``1,234.5`` into ``1 @,@ 234 @.@ 5``."""
    return re.sub(r"(?<=\d)[,.](?=\d)", r" @\g<0>@ ", word).split()


@functools.cache
def _moses(tool: str, language: str) -> Any:
    try:
        import sacremoses
    except ImportError as error:
        raise ImportError(
            "TransfoXLTokenizer splits and joins words with sacremoses: pip install sacremoses"
        ) from error
    return getattr(sacremoses, tool)(language)


transformers.AutoTokenizer.register(TransfoXLConfig, TransfoXLTokenizer, exist_ok=True)
