"""SavedModels asked without Python, through tfhf/serving/c, in the shapes that tests compare."""

from pathlib import Path

import numpy as np
from tensorflow.core.protobuf import saved_model_pb2

from tfhf.serving.saved_model_process import SavedModelProcess


class SavedModelProgram:
    """Asks version folders, each in a process of its own."""

    def predict(self, saved_model, inputs, signature_name="serving_default"):
        """Return the outputs of a signature, by name; strings as bytes."""
        with SavedModelProcess(saved_model) as process:
            return process.predict(inputs, signature_name)

    def classify(self, saved_model, texts):
        """Return (label, highest score) for each text."""
        outputs = self.predict(saved_model, {"text": np.array(texts, object)})
        labels = [label.decode() for label in outputs["label"]]
        return [(label, max(row)) for label, row in zip(labels, outputs["scores"], strict=True)]

    def tokens(self, saved_model, rows):
        """Return the outputs of the `tokens` signature for rows of ids of any length, by name.

        A decoder gets the same ids.
        """
        length = max([1, *map(len, rows)])
        ids = np.zeros((len(rows), length), np.int32)
        mask = np.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        proto = saved_model_pb2.SavedModel.FromString(
            Path(saved_model, "saved_model.pb").read_bytes()
        )
        names = proto.meta_graphs[0].signature_def["tokens"].inputs
        inputs = {name: values[name.removeprefix("decoder_")] for name in names}
        return self.predict(saved_model, inputs, "tokens")
