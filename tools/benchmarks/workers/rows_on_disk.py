"""Reading what benchmarks/material.py writes. NumPy only."""

from collections import defaultdict

import numpy as np

Batch = dict[str, np.ndarray]


def read_batches(path: str) -> dict[str, list[Batch]]:
    """Return lists of batches by name; a batch has input_ids, attention_mask and labels."""
    found: dict[str, dict[int, Batch]] = defaultdict(lambda: defaultdict(dict))
    for key, array in np.load(path).items():
        name, number, column = key.split("|")
        found[name][int(number)][column] = array
    return {name: [batches[i] for i in sorted(batches)] for name, batches in found.items()}


def read_table(path: str):
    """Return a ``datasets.Dataset`` with input_ids, attention_mask and label."""
    import pyarrow as pa
    from datasets import Dataset

    arrays = np.load(path)
    offsets = np.concatenate([[0], np.cumsum(arrays["lengths"])]).astype(np.int32)
    values = {
        "input_ids": arrays["input_ids"],
        "attention_mask": np.ones_like(arrays["input_ids"], dtype=np.int8),
    }
    columns = {
        name: pa.ListArray.from_arrays(pa.array(offsets), pa.array(array))
        for name, array in values.items()
    }
    return Dataset(pa.table(columns | {"label": pa.array(arrays["labels"])}))


def padding_share(masks) -> float:
    """Return which share of the places of all batches holds no token."""
    places = tokens = 0
    for mask in masks:
        places += mask.size
        tokens += int(mask.sum())
    return 1 - tokens / places
