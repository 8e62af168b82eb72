"""Table files of other people as rows: JSON, CSV and TSV, also compressed, within limits of size and nesting.

Every fault is a ValueError that names file and line. ``datasets`` is imported only where it is needed.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import itertools
import json
import lzma
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from .json_documents import document_rows

HUB_PREFIX = "hub:"
"""What may stand before the id of a dataset of the Hub."""
MAX_LINE = 64 * 2**20
"""The most characters of a line."""
MAX_DOCUMENT = 2**30
"""The most characters of a JSON file that is one list."""
MAX_RATIO = 200
"""The most times that a compressed file may grow, once it is larger than a line may be."""
_MAX_DEPTH = 200  # pyarrow's reader of JSON ends the process beyond some 10,000
_COMPRESSED = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_TABLES = (".jsonl", ".json", ".csv", ".tsv")
ENDINGS = ".jsonl, .json, .csv, .tsv (these also compressed: .gz, .bz2, .xz) or .parquet"
"""The endings of data files in words."""
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_BLOCK = 2**24


def table_kind(path: Path) -> str | None:
    """Return the ending of a table file, without that of its compression; None for another file.

    Example:
        >>> table_kind(Path("problems.jsonl.gz")), table_kind(Path("problems.parquet"))
        ('.jsonl', None)
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in _TABLES else None


def is_data_file(data: str | os.PathLike[str]) -> bool:
    """Whether data are one file of rows, by its name; a folder may have such a name, too."""
    path = Path(data)
    is_hub = str(data).startswith(HUB_PREFIX)
    return not is_hub and (table_kind(path) is not None or path.suffix.lower() == ".parquet") and not path.is_dir()


def read_table(path: Path, num_rows: int | None = None) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Return the rows of a table file, and the names of its columns, also those of a header without rows.

    Args:
        path: A ``.jsonl``, ``.json`` (one object per line, or what `document_rows` reads), ``.csv`` or ``.tsv`` file
            (with a header), perhaps compressed (``.gz``, ``.bz2``, ``.xz``), in UTF-8 or, with its mark, UTF-16.
        num_rows: The most rows, from the first; None takes all.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the line or row that cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}. Give the path of a file that exists.")
    kind = table_kind(path)
    try:
        with _opened(path) as text:
            header: list[str] = []
            is_csv = kind in _DELIMITERS
            rows = _csv_rows(path, text, _DELIMITERS[kind], header) if is_csv else _json_rows(path, text, kind)
            rows = list(itertools.islice(rows, num_rows))
            return rows, tuple(dict.fromkeys([*header, *(column for row in rows for column in row)]))
    except UnicodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}). Save it as UTF-8.") from error
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} cannot be unpacked ({error}). Was its writing cut short? Fetch it again.") from error


def _opened(path: Path) -> IO[str]:
    """The file as text, its byte order mark passed over."""
    open_binary = _COMPRESSED.get(path.suffix.lower(), open)
    with open_binary(path, "rb") as binary:
        start = binary.read(4)
    is_wide = start.startswith((b"\xff\xfe", b"\xfe\xff"))
    return io.TextIOWrapper(open_binary(path, "rb"), encoding="utf-16" if is_wide else "utf-8-sig", newline="\n")


def _lines(path: Path, text: IO[str]) -> Iterator[tuple[int, str]]:
    """Numbered lines."""
    limit = max(MAX_LINE, MAX_RATIO * path.stat().st_size) if path.suffix.lower() in _COMPRESSED else None
    num_chars = 0
    for number in itertools.count(1):
        line = text.readline(MAX_LINE + 1)
        if not line:
            return
        num_chars += len(line)
        if len(line) > MAX_LINE:
            raise ValueError(
                f"Line {number} of {path} has more than {MAX_LINE} characters, the most that is read. Put figures into "
                "files of their own, or split the row."
            )
        if limit is not None and num_chars > limit:
            raise ValueError(
                f"{path} grows to more than {MAX_RATIO} times its size when it is unpacked, which no table does. "
                "Unpack it by hand if it is what you expect."
            )
        yield number, line


def _json_rows(path: Path, text: IO[str], kind: str | None) -> Iterator[dict[str, Any]]:
    """The objects of a JSON file: one per line, or one document (a list of them, one by key, or a single one)."""
    lines = ((number, line) for number, line in _lines(path, text) if line.strip())
    first = list(itertools.islice(lines, 2))
    lines = itertools.chain(first, lines)
    is_row = len(first) == 2 and first[0][1].lstrip().startswith("{") and first[0][1].rstrip().endswith("}")
    if kind == ".json" and not is_row:
        rows = _document_rows(path, (line for _, line in lines))
    else:
        remedy = "Only the last line may be torn; remove the broken line, or write the file again."
        rows = (_parsed(line, f"Line {number} of {path}", remedy) for number, line in lines)
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise ValueError(
                f"Row {index} of {path} is {_kind_of(row)}. A row is an object with named columns; remove it, or write "
                "it as one."
            )
        yield row


def _document_rows(path: Path, lines: Iterable[str]) -> list[Any]:
    """The rows of a file that is one JSON document."""
    pieces, num_chars = [], 0
    for line in lines:
        pieces.append(line)
        num_chars += len(line)
        if num_chars > MAX_DOCUMENT:
            raise ValueError(f"{path} has more than {MAX_DOCUMENT} characters. Write it as .jsonl, a row per line.")
    return document_rows(_parsed("".join(pieces), str(path), "Write it again.")) if pieces else []


def _kind_of(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def _parsed(text: str, where: str, remedy: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON ({error}). {remedy}") from error
    except RecursionError as error:
        raise ValueError(f"{where} is nested too deeply. {remedy}") from error


def _csv_rows(path: Path, text: IO[str], delimiter: str, names: list[str]) -> Iterator[dict[str, Any]]:
    """The rows behind a header; the header's names are added to `names`."""
    csv.field_size_limit(MAX_LINE)  # the default is less than a figure in Base64
    number = 1
    try:
        rows = csv.DictReader((line for _, line in _lines(path, text)), delimiter=delimiter, strict=True)
        header = rows.fieldnames or []
        names += header
        rule = "commas" if delimiter == "," else "tabs"
        marks = set(";\t|,") - {delimiter}
        if len(header) == 1 and (mark := next((mark for mark in header[0] if mark in marks), None)):
            ending = ".csv" if delimiter == "," else ".tsv"
            raise ValueError(
                f"The header of {path} is {header[0]!r:.80}, one column. Cells of a {ending} file are separated by "
                f"{rule}, not by {mark!r}; save it so."
            )
        for number, row in enumerate(rows, start=1):
            if None in row:
                raise ValueError(f"Row {number} of {path} has more cells than the header. Quote cells with {rule}.")
            yield row
    except csv.Error as error:
        raise ValueError(f"Row {number} of {path} is not CSV ({error}). Write the file again.") from error


def check_json_files(folder: Path) -> None:
    """Refuse JSON files of a dataset's folder that would end the process in the reader of `datasets`.

    That is one that begins with neither an object nor a list, or is nested too deeply (pyarrow 25, apache/arrow). Files
    that `datasets` does not read as rows may contain anything.

    Raises:
        ValueError: naming the file.
    """
    for path in _json_files(folder):
        try:
            with _COMPRESSED.get(path.suffix.lower(), open)(path, "rb") as file:
                start = file.read(2**16).lstrip(b"\xef\xbb\xbf \t\r\n")
                if start and start[:1] not in (b"{", b"[", b"\xff", b"\xfe"):
                    raise ValueError(
                        f"{path} begins with {start[:20]!r}. A JSON file of rows begins with an object or a list; "
                        "remove the file, write it again, or give the file of rows instead of its folder."
                    )
                file.seek(0)
                if _may_be_deep(file):
                    file.seek(0)
                    for line in file if table_kind(path) == ".jsonl" else [file.read(MAX_DOCUMENT)]:
                        _check_depth(line, path)
        except (OSError, EOFError, lzma.LZMAError) as error:
            raise ValueError(f"{path} cannot be read ({error}). Fetch it again.") from error


def _json_files(folder: Path) -> list[Path]:
    """The JSON files that `datasets` reads in a folder; all of them if a README may name others."""
    from datasets.data_files import DataFilesDict, get_data_patterns

    paths = [path for path in sorted(folder.rglob("*.json*")) if path.is_file() and table_kind(path) is not None]
    if not paths or (folder / "README.md").exists():
        return paths
    try:
        files = DataFilesDict.from_patterns(get_data_patterns(str(folder)), base_path=str(folder))
    except FileNotFoundError:
        return paths
    read = {os.path.realpath(file) for split in files.values() for file in split}
    return [path for path in paths if os.path.realpath(path) in read]


def _may_be_deep(file: IO[bytes]) -> bool:
    """Whether a file has many more opening than closing brackets somewhere; those in texts count as well."""
    depth = lowest = 0
    while block := file.read(_BLOCK):
        codes = np.frombuffer(block, np.uint8)
        opening = (codes == ord("[")) | (codes == ord("{"))
        closing = (codes == ord("]")) | (codes == ord("}"))
        depths = depth + np.cumsum(opening.astype(np.int64) - closing)
        lows = np.minimum(lowest, np.minimum.accumulate(depths))
        if (depths - lows).max() > _MAX_DEPTH:
            return True
        depth, lowest = int(depths[-1]), int(lows[-1])
    return False


def _check_depth(line: bytes, path: Path) -> None:
    """Raise if JSON is nested too deeply for Python's parser; other faults are reported where it is read."""
    text, start, decoder = line.decode("utf-8", "replace").strip(), 0, json.JSONDecoder()
    try:
        while start < len(text):
            _, start = decoder.raw_decode(text, start)
            while start < len(text) and text[start].isspace():
                start += 1
    except RecursionError as error:
        raise ValueError(
            f"{path} has JSON that is nested too deeply. A row has a few levels; write it again."
        ) from error
    except ValueError:
        return


def is_saved_dataset(folder: Path) -> bool:
    """Whether `datasets` wrote the folder with `save_to_disk`."""
    return any(os.path.isfile(folder / name) for name in ("state.json", "dataset_dict.json"))
