"""What the demo fetches, in small: a BERT, and film reviews that it can learn."""

import json

from transformers import BertConfig, BertTokenizer

import tfhf

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "very", "good", "bad", "film", "."]


def review_rows(size):
    """Rows of two labels that one word tells apart, of five lengths."""
    adjectives = ("bad", "good")
    return [
        {"text": f"a {'very ' * (i % 5)}{adjectives[i % 2]} film.", "label": i % 2}
        for i in range(size)
    ]


def write_demo(cache, sizes, words=WORDS, **config):
    """Write a checkpoint and the splits of the reviews where the recipes look for the real ones."""
    config = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 32,
    } | config
    checkpoint, reviews = cache / "all-MiniLM-L6-v2", cache / "movie-reviews"
    tfhf.TFBertModel(BertConfig(vocab_size=len(words), **config)).save_pretrained(checkpoint)
    BertTokenizer(vocab={word: i for i, word in enumerate(words)}).save_pretrained(checkpoint)
    reviews.mkdir()
    for split, size in sizes.items():
        lines = (json.dumps(row) + "\n" for row in review_rows(size))
        (reviews / f"{split}.jsonl").write_text("".join(lines))
