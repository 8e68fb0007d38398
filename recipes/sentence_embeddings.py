"""Sentence embeddings: find what is meant, not what is written.

    python recipes/sentence_embeddings.py "It made me laugh out loud."

embeds the demo's film reviews with all-MiniLM-L6-v2 and prints those whose meaning is nearest to a
sentence. Then it trains the model to put sentences of one mood near each other: of the sentences of
a second batch, each of a first one shall be nearest to those that share its label. It shows what
that does to the share of neighbours that have the mood of the sentence. The loss is that of Khosla
et al., Supervised Contrastive Learning, 2020.

Expected share of neighbours, of 5 for each of 300 test sentences: 0.61 before and 0.73 after
training; chance has 0.5. Run time: 9 minutes of one core, which took 16 on a busy machine.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from datasets import Dataset
from film_reviews import checkpoint, film_reviews

import tfhf

SCALE = 20.0  # of cosines, as sentence-transformers has it


def main() -> None:
    """Search, train, and search again."""
    options = parse_options()
    keras.utils.set_random_seed(options.seed)
    reviews = film_reviews().shuffle(options.seed)  # in the files, the first ones are of one mood

    # 1. What is near to a sentence.
    encoder = tfhf.SentenceEncoder.from_pretrained(options.model or checkpoint())
    known = reviews["train"].select(range(options.sentences))
    vectors = encoder.encode(known["text"])
    cosines = encoder.encode([options.text])[0] @ vectors.T
    for i in np.argsort(-cosines)[:3]:
        print(f"{cosines[i]:.3f}  {known['text'][i]}")
    asked = reviews["test"].select(range(min(300, len(reviews["test"]))))
    before = share_of_mood(encoder, asked, known)

    # 2. Training.
    tokenizer, model = encoder.tokenizer, encoder.model
    optimizer, _ = tfhf.create_optimizer(options.learning_rate, options.steps, num_warmup_steps=0)

    def embed(tokens):
        states = model(tokens, training=True).last_hidden_state
        mask = tf.cast(tokens["attention_mask"], states.dtype)[..., None]
        return tf.math.l2_normalize(tf.reduce_sum(states * mask, axis=1), axis=-1)

    @tf.function(reduce_retracing=True)
    def train_step(first, second, alike):
        with tf.GradientTape() as tape:
            scores = SCALE * tf.matmul(embed(first), embed(second), transpose_b=True)
            shares = alike / tf.reduce_sum(alike, axis=1, keepdims=True)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(shares, scores))
        gradients = tape.gradient(loss, model.trainable_variables)
        pairs = zip(gradients, model.trainable_variables)
        optimizer.apply_gradients([(g, v) for g, v in pairs if g is not None])
        return loss

    progress = keras.utils.Progbar(options.steps)
    for first, second, alike in pairs_of_batches(reviews["train"], tokenizer, options):
        progress.add(1, [("loss", train_step(first, second, alike))])

    # 3. The same search again.
    model.save_pretrained(options.output_dir)
    tokenizer.save_pretrained(options.output_dir)
    after = share_of_mood(encoder, asked, known)
    print(f"neighbours of the same mood  {before:.3f} before, {after:.3f} after training")
    print(f"checkpoint                   {options.output_dir}")


def share_of_mood(encoder: tfhf.SentenceEncoder, asked: Dataset, known: Dataset) -> float:
    """Return how many of the five nearest known sentences have the label of the one asked."""
    cosines = encoder.similarity(encoder.encode(asked["text"]), encoder.encode(known["text"]))
    nearest = np.array(known["label"])[np.argsort(-cosines, axis=1)[:, :5]]
    return float(np.mean(nearest == np.array(asked["label"])[:, None]))


def pairs_of_batches(rows: Dataset, tokenizer, options: argparse.Namespace):
    """Yield two batches of tokens, and which of their sentences have one label."""
    rng = np.random.default_rng(options.seed)
    texts, labels = np.array(rows["text"]), np.array(rows["label"])
    for _ in range(options.steps):
        pair = rng.choice(len(texts), (2, options.batch_size), replace=False)
        first, second = (
            tokenizer(
                list(texts[part]),
                padding=True,
                truncation=True,
                max_length=128,
                return_tensors="tf",
            )
            for part in pair
        )
        alike = labels[pair[0]][:, None] == labels[pair[1]]
        yield first.data, second.data, tf.constant(alike, tf.float32)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Search by meaning, and train the meaning.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("text", nargs="?", default="It made me laugh out loud.", help="what to search for")
    add("--model", help="folder or name on the Hub (default: the demo's MiniLM)")
    add("--sentences", type=int, default=2000, help="how many are searched")
    add("--steps", type=int, default=200)
    add("--batch-size", type=int, default=32)
    add("--learning-rate", type=float, default=3e-5)
    add("--seed", type=int, default=0)
    add("--output-dir", type=Path, default=Path("runs/sentence-embeddings"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
