"""What recipes begin with that train from scratch: a small BERT and its words. No recipe itself."""

from collections.abc import Iterable
from typing import Any

import tokenizers
from tokenizers import models, pre_tokenizers, processors, trainers
from transformers import BertConfig, PreTrainedTokenizerFast

SPECIAL = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}


def trained_tokenizer(texts: Iterable[str], pieces: int | None = None) -> PreTrainedTokenizerFast:
    """Train a tokenizer that knows the words of texts, or so many pieces that make up any word."""
    options = {"special_tokens": list(SPECIAL.values()), "show_progress": False}
    if pieces is None:
        model, trainer = models.WordLevel(unk_token="[UNK]"), trainers.WordLevelTrainer(**options)
    else:
        model = models.WordPiece(unk_token="[UNK]")
        trainer = trainers.WordPieceTrainer(vocab_size=pieces, **options)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=128,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **SPECIAL,
    )


def small_config(tokenizer: PreTrainedTokenizerFast, **settings: Any) -> BertConfig:
    """Describe a BERT of 2 layers, 64 wide, where the settings do not say otherwise."""
    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return BertConfig(vocab_size=len(tokenizer), intermediate_size=128, **(small | settings))
