"""ONNX Runtime on what torch.onnx writes, with the tokenizers library in front."""

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


class _Logits(torch.nn.Module):
    def __init__(self, model) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


def _write(folder: str, file: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = torch.ones(2, 8, dtype=torch.long)  # sizes of 1 would become constants
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=512)}
    torch.onnx.export(
        _Logits(model),
        (ids, torch.ones_like(ids)),
        file,
        input_names=["input_ids", "attention_mask"],
        output_names=["logits"],
        dynamic_shapes={"input_ids": sizes, "attention_mask": sizes},
    )


def onnx_label_server(folder: str):
    """Give a function of texts, for their labels and the scores of these."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    with tempfile.TemporaryDirectory() as graphs:
        _write(folder, Path(graphs, "model.onnx"))
        session = onnxruntime.InferenceSession(Path(graphs, "model.onnx"), options)
    tokenizer = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    tokenizer.enable_padding()
    tokenizer.enable_truncation(512)
    labels = AutoModelForSequenceClassification.from_pretrained(folder).config.id2label

    def label(texts):
        tokens = tokenizer.encode_batch(texts)
        inputs = {
            "input_ids": np.array([each.ids for each in tokens]),
            "attention_mask": np.array([each.attention_mask for each in tokens]),
        }
        (logits,) = session.run(None, inputs)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = powers / powers.sum(axis=1, keepdims=True)
        return [labels[i] for i in scores.argmax(axis=1)], scores.max(axis=1)

    return label
