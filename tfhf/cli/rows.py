"""Rows of JSON lines and CSV files, read and written one at a time."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

Row = dict[str, Any]

#: Standard input or output.
STANDARD = Path("-")
SUFFIXES = (".jsonl", ".csv")


def is_csv(path: Path) -> bool:
    """Whether a file is CSV, and not JSON lines, which standard input and output are."""
    return path.suffix == ".csv"


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file, as JSON has them, or as texts by the names in CSV's first line.

    A line that is a JSON text alone is the row ``{"text": …}``.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is broken; the message has its number.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "films.jsonl")
        >>> path.write_text('{"text": "Dull.", "label": 0}\\n"A joy."\\n') and None
        >>> list(read_rows(path))
        [{'text': 'Dull.', 'label': 0}, {'text': 'A joy.'}]
    """
    # CSV has line ends inside cells; Excel writes a mark before the first cell.
    opened = (
        nullcontext(sys.stdin)
        if path == STANDARD
        else path.open(encoding="utf-8-sig", newline="" if is_csv(path) else None)
    )
    rows = _csv_rows if is_csv(path) else _json_rows
    with opened as file:
        try:
            yield from rows(file)
        except ValueError as error:
            raise ValueError(f"{path}, {error}") from error


def _json_rows(file: IO[str]) -> Iterator[Row]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number} is no JSON: {error}") from error
        row = {"text": row} if isinstance(row, str) else row
        if not isinstance(row, dict):
            raise ValueError(f"line {number} must be a JSON object or a text, but is {line[:80]!r}")
        yield row


def _csv_rows(file: IO[str]) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.DictReader(file, strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(
                    f"line {reader.line_num} has not the {len(reader.fieldnames or ())} cells that "
                    "the first line has"
                )
            yield row
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num} is no CSV: {error}") from error


class RowWriter:
    """Writes a row, or a result, at a time into an open file.

    Args:
        file: a text file.
        path: where it will be, whose suffix says how it is written.
        columns: all that sources have, for CSV.
    """

    def __init__(self, file: IO[str], path: Path, columns: Sequence[str] = ()) -> None:
        self._file = file
        self._path = path
        self._columns = columns
        self._csv: csv.DictWriter[str] | None = None

    def write(self, source: Row, result: Any) -> None:
        """Write a result as a JSON line, or as one or more lines of CSV after its source's cells.

        In CSV, a result's column that sources have too is called ``result_…``, and a cell is empty
        where a source has nothing.
        """
        if not is_csv(self._path):
            self._file.write(json.dumps(result, ensure_ascii=False, default=_plain) + "\n")
            return
        for entry in _entries(result):
            named = {self._free_name(name): value for name, value in entry.items()}
            if self._csv is None:
                names = [*self._columns, *named]
                self._csv = csv.DictWriter(self._file, names, lineterminator="\n")
                self._csv.writeheader()
            self._csv.writerow({name: _cell(value) for name, value in (source | named).items()})

    def _free_name(self, name: str) -> str:
        while name in self._columns:
            name = f"result_{name}"
        return name


def _plain(value: Any) -> Any:
    """Return what JSON has for a tensor."""
    return value.numpy().tolist()


def _entries(result: Any) -> Iterator[Row]:
    """Yield the labels, entities, answers or texts of a result."""
    if isinstance(result, list):
        for part in result:
            yield from _entries(part)
    elif "labels" in result:  # of zero-shot-classification
        for label, score in zip(result["labels"], result["scores"]):
            yield {"label": label, "score": score}
    else:
        yield result


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
