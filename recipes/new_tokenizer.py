"""A new tokenizer: WordPiece, BPE and Unigram, trained on texts of one's own.

    python recipes/new_tokenizer.py

trains the three kinds on Python's own source files, and shows how each splits a line of code and
how many tokens the test files take. The old tokenizer of a checkpoint takes more: its words are not
those of code. Each new one is saved in the Hugging Face format, and is made into operations of
TensorFlow that give the same ids; where they would not in every case, tfhf says so: SentencePiece
trains Unigram models that it takes, the ``tokenizers`` library's are too precise.

Expected, of Python 3.11's files: 11.0 tokens a line by WordPiece, 11.3 by BPE, 10.5 by Unigram;
with ``--old`` all-MiniLM-L6-v2, whose vocabulary is four times as large, 11.6. Run time: 40 seconds
of one core, which took 80 on a busy machine.
"""

import argparse
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

import tfhf

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LINE = "def read_lines(self, file_name: str) -> list[str]:"


def main() -> None:
    """Train, compare, save."""
    options = parse_options()
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[: options.files]
    train, test = files[::2], files[1::2]
    lines = [line for file in test for line in text_of(file).splitlines() if line.strip()]

    for name, (tokenizer, trainer) in kinds(options.vocab_size).items():
        tokenizer.train_from_iterator(batches(train), trainer, length=len(train))
        add_special_tokens(tokenizer)
        new = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token="[PAD]",
            unk_token="[UNK]",
            cls_token="[CLS]",
            sep_token="[SEP]",
            mask_token="[MASK]",
        )
        new.save_pretrained(options.output_dir / name)
        count = sum(map(len, new(lines, add_special_tokens=False)["input_ids"]))
        print(f"{name:10} {count / len(lines):4.1f} tokens a line: {' '.join(new.tokenize(LINE))}")

        again = tfhf.AutoTokenizer.from_pretrained(options.output_dir / name)
        try:
            in_graph = tfhf.GraphTokenizer.from_tokenizer(again)
        except ValueError as error:
            print(f"{'':10} {error}")
        else:
            assert in_graph([LINE])["input_ids"].numpy().tolist() == new([LINE])["input_ids"]
    if options.old:
        old = tfhf.AutoTokenizer.from_pretrained(options.old)
        count = sum(map(len, old(lines, add_special_tokens=False)["input_ids"]))
        print(f"{'old':10} {count / len(lines):4.1f} tokens a line: {' '.join(old.tokenize(LINE))}")
    print(f"tokenizers in {options.output_dir}")


def kinds(vocab_size: int) -> dict[str, tuple[tokenizers.Tokenizer, trainers.Trainer]]:
    """Return each kind of tokenizer, untrained, with what trains it."""
    options = {"vocab_size": vocab_size, "special_tokens": SPECIAL, "show_progress": False}

    word_piece = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    word_piece.normalizer = normalizers.BertNormalizer(lowercase=True)
    word_piece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    word_piece.decoder = decoders.WordPiece()

    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bytes_ = pre_tokenizers.ByteLevel.alphabet()

    unigram = tokenizers.Tokenizer(models.Unigram())
    unigram.normalizer = normalizers.Replace(tokenizers.Regex(" {2,}"), " ")
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()

    return {
        "wordpiece": (word_piece, trainers.WordPieceTrainer(**options)),
        "bpe": (bpe, trainers.BpeTrainer(**options, initial_alphabet=bytes_)),
        "unigram": (unigram, trainers.UnigramTrainer(**options, unk_token="[UNK]")),
    }


def add_special_tokens(tokenizer: tokenizers.Tokenizer) -> None:
    """Make a tokenizer put [CLS] before and [SEP] behind each text."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )


def batches(files: list[Path]) -> Iterator[list[str]]:
    """Yield the lines of each file: a tokenizer is trained without all texts in memory."""
    for file in files:
        yield text_of(file).splitlines()


def text_of(file: Path) -> str:
    """Read a source file."""
    return file.read_text(encoding="utf-8", errors="replace")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Train tokenizers on Python's source files.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--vocab-size", type=int, default=8000)
    add("--files", type=int, default=400, help="at most; half of them to train on")
    add("--old", help="a tokenizer to compare with, folder or name on the Hub")
    add("--output-dir", type=Path, default=Path("runs/tokenizers"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
