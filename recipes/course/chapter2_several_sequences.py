"""Chapter 2: several sequences: batches, padding and masks; and all of it put together.

    python recipes/course/chapter2_several_sequences.py

Run time: 20 seconds on 2 CPU cores.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import tfhf

sys.path.insert(0, str(Path(__file__).parents[1]))
from film_reviews import checkpoint as minilm


def main() -> None:
    """Show what padding without a mask does, and how to do without such care."""
    keras.utils.set_random_seed(0)
    tokenizer = tfhf.AutoTokenizer.from_pretrained(minilm())
    model = tfhf.TFAutoModelForSequenceClassification.from_pretrained(minilm())

    # A model takes batches: one sequence is a batch of one.
    sequence = "I've been waiting for a HuggingFace course my whole life."
    ids = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(sequence))
    try:
        model(tf.constant(ids))
    except ValueError as error:
        print("without a batch:", error)
    print("one row:", model(tf.constant([ids])).logits.shape)

    # Rows of different lengths are padded; the mask says what is padding.
    short, long = [200, 200], [200, 200, 200]
    padding = tokenizer.pad_token_id
    batch = tf.constant([long, [*short, padding]])
    mask = tf.constant([[1, 1, 1], [1, 1, 0]])
    alone = model(tf.constant([short])).logits[0].numpy()
    careless = model(batch).logits[1].numpy()
    careful = model(batch, attention_mask=mask).logits[1].numpy()
    print("alone, padded without a mask, padded with one:", alone, careless, careful)
    np.testing.assert_allclose(careful, alone, atol=1e-5)
    assert np.abs(careless - alone).max() > 1e-4

    # Too long for the positions: cut, or take a model for long texts.
    tokens = tokenizer("word " * 1000, truncation=True)
    print("cut to", len(tokens["input_ids"]), "tokens")

    # Put together: the tokenizer does all of it.
    sequences = [sequence, "So have I!"]
    for options in ({"padding": "longest"}, {"padding": "max_length", "max_length": 12}):
        tokens = tokenizer(sequences, truncation=True, return_tensors="tf", **options)
        print(options, tokens["input_ids"].shape, model(**tokens).logits.shape)


if __name__ == "__main__":
    main()
