"""Texts, and the tiny tokenizers and random models that are asked about them."""

from pathlib import Path

import numpy as np
import transformers
from tokenizers import (
    BertWordPieceTokenizer,
    ByteLevelBPETokenizer,
    SentencePieceUnigramTokenizer,
)
from tokenizers.processors import TemplateProcessing

ROOT = Path(__file__).parents[2]
SENTENCES = (
    "A cat sleeps on the warm roof.",
    "Anna Müller moved from Zürich to New York in 2019 and works for Acme Corp.",
    "I love this moving, funny film!",
    "What a dull, long and empty story; I left after ten minutes.",
    "The river Elbe rises in the Krkonoše Mountains and flows through Dresden and Hamburg.",
    "Who wrote the letter? Marie wrote the letter to Paul on a cold Monday in March.",
    "Ein Kätzchen döst — 東京 ist groß 🐈.",
    "My tart needs some more sugar, some butter and a little salt.",
)
TEXTS = (
    "",
    "Hello",
    " ",
    "cat",
    *SENTENCES,
    "ΣΊΣΥΦΟΣ, İstanbul & naïve café 👩‍👩‍👧 x\u200by\t\nz",
    "the film " * 12,
)
LONG = " ".join(SENTENCES * 2)
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 130,
}


def material() -> list[str]:
    """Return the texts that tokenizers learn from."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [*SENTENCES * 20, *(file.read_text() for file in files)]


def wordpiece(folder: Path, **options):
    """Train a tokenizer as BERT's."""
    trained = BertWordPieceTokenizer(lowercase=options.get("do_lower_case", True))
    trained.train_from_iterator(material(), vocab_size=340, limit_alphabet=90, show_progress=False)
    trained.save_model(str(folder))
    options = {"model_max_length": 64} | options
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"), **options)
    (folder / "vocab.txt").unlink()
    return tokenizer


def byte_level(folder: Path, tokenizer_class, special: list[str], **options):
    """Train a tokenizer as GPT-2's and RoBERTa's."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        material(), vocab_size=340, special_tokens=special, show_progress=False
    )
    trained.save_model(str(folder))
    options = {"model_max_length": 64} | options
    files = [folder / "vocab.json", folder / "merges.txt"]
    tokenizer = tokenizer_class(*map(str, files), **options)
    for file in files:
        file.unlink()
    return tokenizer


def checkpoint(folder: Path, model_class, config, tokenizer, spread: float = 0.3, zeros=None):
    """Make a model with random weights and write it; ``zeros(weights)`` may change some."""
    random = np.random.default_rng(0)
    transformers.set_seed(0)
    model = model_class(config)
    model.build_in_name_scope()
    for weight in model.weights:
        if "logits_bias" not in weight.name:
            weight.assign(weight + random.normal(0, spread, weight.shape))
    if zeros:
        zeros(model)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    for name in ("vocab.txt", "vocab.json", "merges.txt"):
        (folder / name).unlink(missing_ok=True)  # tokenizer.json has it
    return model, tokenizer


def bert(folder: Path, head: str, labels=None, **options):
    """Make a BERT with its tokenizer."""
    settings = TINY | options.pop("config", {})
    spread, zeros = options.pop("spread", 0.3), options.pop("zeros", None)
    tokenizer = wordpiece(folder, **options)
    if labels:
        settings |= {"id2label": dict(enumerate(labels))}
        settings |= {"label2id": {label: i for i, label in enumerate(labels)}}
    config = transformers.BertConfig(vocab_size=len(tokenizer), **settings)
    model_class = getattr(transformers, f"TFBert{head}")
    return checkpoint(folder, model_class, config, tokenizer, spread, zeros)


def roberta(folder: Path, head: str, labels=None, **options):
    """Make a RoBERTa with its tokenizer."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    settings = TINY | options.pop("config", {})
    spread = options.pop("spread", 0.3)
    tokenizer = byte_level(folder, transformers.RobertaTokenizerFast, special, **options)
    if labels:
        settings |= {"id2label": dict(enumerate(labels))}
        settings |= {"label2id": {label: i for i, label in enumerate(labels)}}
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer), pad_token_id=1, bos_token_id=0, eos_token_id=2, **settings
    )
    return checkpoint(folder, getattr(transformers, f"TFRoberta{head}"), config, tokenizer, spread)


def gpt2(folder: Path, chat_template=None, **settings):
    """Make a GPT-2 with its tokenizer."""
    end = "<|endoftext|>"
    tokenizer = byte_level(folder, transformers.GPT2TokenizerFast, [end], model_max_length=90)
    tokenizer.chat_template = chat_template
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=96,
        n_embd=16,
        n_layer=1,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
        **settings,
    )
    return checkpoint(folder, transformers.TFGPT2LMHeadModel, config, tokenizer, 0.4)


def t5(folder: Path, specific):
    """Make a T5 with its tokenizer."""
    trained = SentencePieceUnigramTokenizer()
    trained.train_from_iterator(
        material(),
        vocab_size=260,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    ends = {"single": "$A </s>", "pair": "$A </s> $B </s>", "special_tokens": [("</s>", 1)]}
    trained.post_processor = TemplateProcessing(**ends)
    trained.save(str(folder / "tokenizer.json"))
    file = str(folder / "tokenizer.json")
    tokenizer = transformers.T5TokenizerFast(tokenizer_file=file, extra_ids=2, model_max_length=64)
    config = transformers.T5Config(
        vocab_size=len(tokenizer),
        d_model=16,
        d_kv=8,
        d_ff=24,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
        task_specific_params=specific,
    )
    return checkpoint(folder, transformers.TFT5ForConditionalGeneration, config, tokenizer, 0.4)


def bart(folder: Path):
    """Make a BART with its tokenizer."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = byte_level(folder, transformers.BartTokenizerFast, special)
    config = transformers.BartConfig(
        vocab_size=len(tokenizer),
        d_model=12,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=20,
        decoder_ffn_dim=20,
        max_position_embeddings=130,
    )
    return checkpoint(folder, transformers.TFBartForConditionalGeneration, config, tokenizer, 0.4)
