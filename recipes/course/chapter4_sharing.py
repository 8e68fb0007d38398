"""Chapter 4: using and sharing models, with a model card.

    python recipes/course/chapter4_sharing.py
    python recipes/course/chapter4_sharing.py --push my-name/my-model   # after `hf auth login`

trains a small model, writes what belongs into a repository, and reads it as somebody else would.
With a name, it uploads the folder as well. Run time: 20 seconds on 2 CPU cores.
"""

import argparse
from pathlib import Path

import keras
import tensorflow as tf
from transformers import BertConfig, BertTokenizerFast

import tfhf
from tfhf.hub import save_model_card

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "film", "."]


def main() -> None:
    """Train, write, read, and upload."""
    options = parse_options()
    keras.utils.set_random_seed(0)
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)})
    names = {0: "negative", 1: "positive"}
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        id2label=names,
        label2id={name: i for i, name in names.items()},
    )
    model = tfhf.TFBertForSequenceClassification(config)
    tokens = tokenizer(["a good film .", "a bad film ."] * 32)
    data = {name: tf.constant(rows) for name, rows in tokens.items()}
    data["labels"] = tf.constant([1, 0] * 32)
    model.compile(tfhf.AdamWeightDecay(1e-2), metrics=["accuracy"])
    history = model.fit(data, epochs=5, verbose=0).history

    # What belongs into a repository: the model, its tokenizer, and a card that says what is known.
    folder = options.output_dir
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    card = tfhf.create_model_card(
        model,
        options.push or folder.name,
        history=history,
        language="en",
        license="apache-2.0",
        description="Tells good films from bad ones, if they are called so.",
        intended_uses="To show how a model is shared. For nothing else.",
        limitations="It knows ten words.",
        training_data="Two sentences, 32 times each.",
    )
    save_model_card(card, folder, history)
    print(sorted(path.name for path in folder.iterdir()))

    # How others use it.
    classify = tfhf.pipeline("text-classification", model=str(folder))
    print(classify("a bad film ."))
    if options.push:
        print(tfhf.push_folder(folder, repo_id=options.push))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a model, write its card, share it.")
    parser.add_argument("--push", metavar="REPO", help="upload it as this, name or team/name")
    parser.add_argument("--output-dir", type=Path, default=Path("runs/shared-model"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
