"""Rows that ``tfhf train``, ``eval`` and ``predict`` read: from files, or from the Hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets

#: {suffix: the format and its options}. Of texts in CSV, only the empty one is none.
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".csv": ("csv", {"keep_default_na": False, "na_values": [""]}),
    ".json": ("json", {}),
    ".jsonl": ("json", {}),
}


def load_rows(
    file: Path | None,
    columns: Mapping[str, str],
    *,
    dataset: str | None = None,
    config: str | None = None,
    split: str = "train",
) -> datasets.Dataset:
    """Load rows of a CSV or JSON lines file, or of a dataset of the Hub.

    Args:
        file: the file, which ends in .csv, .json or .jsonl.
        columns: {the name that a task has for a column: the name that the rows have}. Parts of
            structures are named ``structure.part``.
        dataset: its name, where there is no file.
        config: its configuration, such as "mrpc" of "glue".
        split: which of the dataset.

    Raises:
        OSError: there is no such file or dataset.
        ValueError: the file is broken, empty, of another kind, or lacks a column.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "films.jsonl")
        >>> path.write_text('{"review": "Dull.", "label": 0}') and None
        >>> load_rows(path, {"text": "review"})[0]["text"]
        'Dull.'
    """
    try:
        if file is None:
            rows = datasets.load_dataset(dataset, config, split=split)
        elif file.suffix in FORMATS:
            name, options = FORMATS[file.suffix]
            rows = datasets.load_dataset(name, data_files=str(file), split="train", **options)
        else:
            raise ValueError(f"{file} must end in {', '.join(FORMATS)}")
    except datasets.exceptions.DatasetsError as error:
        cause = " ".join(str(error.__cause__ or error).split())  # in one line
        raise ValueError(f"{file or dataset} cannot be read: {cause}") from error
    rows = rows.flatten()
    for name, column in columns.items():
        if column not in rows.column_names:
            found = ", ".join(rows.column_names)
            raise ValueError(f"{file or dataset} has no column {column!r} but {found}")
        if name != column:
            others = [each for each in rows.column_names if each != name]
            rows = rows.select_columns(others).rename_column(column, name)
    return rows


def label_names(rows: datasets.Dataset, column: str) -> list[str] | None:
    """Return the names of labels, or of the tags in lists; ``None``: they are decimal numbers.

    Example:
        >>> rows = datasets.Dataset.from_dict({"label": ["good", "bad"], "tags": [[0, 2], [1]]})
        >>> label_names(rows, "label"), label_names(rows, "tags")
        (['bad', 'good'], ['LABEL_0', 'LABEL_1', 'LABEL_2'])
    """
    feature = rows.features[column]
    kind = getattr(feature, "feature", feature)
    values: Sequence[Any] = rows[column]
    if kind is not feature:
        values = [value for part in values for value in part]
    if isinstance(kind, datasets.ClassLabel):
        return list(kind.names)
    if kind.dtype in ("string", "large_string"):
        return sorted(set(values))
    if kind.dtype.startswith("float"):
        return None
    return [f"LABEL_{i}" for i in range(max(values) + 1)]


def with_names(rows: datasets.Dataset, column: str) -> datasets.Dataset:
    """Return rows with the names of labels in place of numbers, where the dataset knows them.

    Example:
        >>> kind = datasets.Features(label=datasets.ClassLabel(names=["bad", "good"]))
        >>> with_names(datasets.Dataset.from_dict({"label": [1, 0]}, kind), "label")["label"][:]
        ['good', 'bad']
    """
    feature = rows.features[column]
    kind = getattr(feature, "feature", feature)
    if not isinstance(kind, datasets.ClassLabel):
        return rows
    names = [kind.int2str(label) for label in rows[column]]
    if len(rows.column_names) == 1:  # without a column, datasets forgets how many rows there are
        return datasets.Dataset.from_dict({column: names})
    return rows.remove_columns(column).add_column(column, names)
