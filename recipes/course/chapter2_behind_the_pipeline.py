"""Chapter 2: the three steps behind a pipeline: tokenizer, model, and what makes sense of scores.

    python recipes/course/chapter2_behind_the_pipeline.py
    python recipes/course/chapter2_behind_the_pipeline.py \
        --model distilbert-base-uncased-finetuned-sst-2-english

Without a name, the model is the demo's MiniLM with a new head, whose probabilities are near 0.5.
Run time: 20 seconds on 2 CPU cores.
"""

import argparse
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import tfhf

sys.path.insert(0, str(Path(__file__).parents[1]))
from film_reviews import checkpoint as minilm

TEXTS = ["I've been waiting for a HuggingFace course my whole life.", "I hate this so much!"]


def main() -> None:
    """Go step by step, and compare with the pipeline."""
    parser = argparse.ArgumentParser(description="What a pipeline does, step by step.")
    parser.add_argument("--model", help="folder or name on the Hub (default: the demo's MiniLM)")
    checkpoint = parser.parse_args().model or minilm()
    keras.utils.set_random_seed(0)

    # 1. The tokenizer: texts to ids, padded to the longest, with a mask for the padding.
    tokenizer = tfhf.AutoTokenizer.from_pretrained(checkpoint)
    inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="tf")
    print("input_ids", inputs["input_ids"].shape, "attention_mask", inputs["attention_mask"].shape)

    # 2. The body: a vector for each token. Then the same body with a head for a task.
    body = tfhf.TFAutoModel.from_pretrained(checkpoint)
    print("hidden states", body(inputs).last_hidden_state.shape)
    model = tfhf.TFAutoModelForSequenceClassification.from_pretrained(checkpoint)
    logits = model(inputs).logits
    print("logits", logits.shape)

    # 3. Scores to probabilities, with the names of the labels.
    probabilities = tf.nn.softmax(logits, axis=-1)
    for text, row in zip(TEXTS, probabilities.numpy()):
        print({model.config.id2label[i]: round(float(p), 3) for i, p in enumerate(row)}, text)

    classify = tfhf.pipeline("sentiment-analysis", model=model, tokenizer=tokenizer)
    answers = classify(TEXTS)
    best = probabilities.numpy().max(axis=-1)
    np.testing.assert_allclose([answer["score"] for answer in answers], best, atol=1e-5)
    print("The pipeline says the same.")


if __name__ == "__main__":
    main()
