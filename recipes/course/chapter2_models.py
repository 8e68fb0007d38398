"""Chapter 2: models: from a configuration, from a checkpoint, saved, and called on plain lists.

    python recipes/course/chapter2_models.py

Run time: 15 seconds on 2 CPU cores.
"""

import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from transformers import BertConfig

import tfhf


def main() -> None:
    """Make a model, save it, load it, and call it."""
    # From a configuration: random weights, of no use before training.
    config = BertConfig(num_hidden_layers=2, hidden_size=64, num_attention_heads=2)
    model = tfhf.TFBertModel(config)
    print(f"{model.num_parameters():,} random weights")

    # Saved: two files, the architecture and the weights.
    folder = Path(tempfile.mkdtemp())
    model.save_pretrained(folder)
    print(sorted(path.name for path in folder.iterdir()))

    # Loaded: the class by its name, or by what config.json says.
    for model_class in (tfhf.TFBertModel, tfhf.TFAutoModel):
        again = model_class.from_pretrained(folder)

    # Called on ids that somebody else made. Rows of a tensor must have one length.
    encoded_sequences = [[101, 7592, 999, 102], [101, 4658, 1012, 102], [101, 3835, 999, 102]]
    outputs = again(tf.constant(encoded_sequences))
    print("last_hidden_state", outputs.last_hidden_state.shape)
    np.testing.assert_array_equal(
        outputs.last_hidden_state, model(tf.constant(encoded_sequences)).last_hidden_state
    )


if __name__ == "__main__":
    main()
