"""Table files of other people as rows: JSON lines, JSON and CSV, also compressed, within limits of size and nesting.

Every fault is a ValueError that names file and line. Standard library and NumPy only.
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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

MAX_LINE = 64 * 2**20
"""The most characters of a line."""
MAX_DOCUMENT = 2**30
"""The most characters of a JSON file that is one list."""
MAX_RATIO = 200
"""The most times that a compressed file may grow, once it is larger than a line may be."""
_MAX_DEPTH = 200  # pyarrow's reader of JSON ends the process beyond some 10,000
_COMPRESSED = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_TABLES = (".jsonl", ".json", ".csv")
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


def read_table(path: Path, num_rows: int | None = None) -> list[dict[str, Any]]:
    """Return the rows of a table file.

    Args:
        path: A ``.jsonl``, ``.json`` (a list of objects, or one object per line) or ``.csv`` file (with a header),
            perhaps compressed (``.gz``, ``.bz2``, ``.xz``), in UTF-8 or, with its mark, UTF-16.
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
            rows = _csv_rows(path, text) if kind == ".csv" else _json_rows(path, text, kind)
            return list(itertools.islice(rows, num_rows))
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
    """Numbered lines that are not blank."""
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
        if line.strip():
            yield number, line


def _json_rows(path: Path, text: IO[str], kind: str | None) -> Iterator[dict[str, Any]]:
    """The objects of a JSON file: a list of them, or one per line."""
    lines = _lines(path, text)
    first = next(lines, None)
    if first is None:
        return
    if kind == ".json" and first[1].lstrip().startswith("["):
        pieces, num_chars = [], 0
        for _, line in itertools.chain([first], lines):
            pieces.append(line)
            num_chars += len(line)
            if num_chars > MAX_DOCUMENT:
                raise ValueError(f"{path} has more than {MAX_DOCUMENT} characters. Write it as .jsonl, a row per line.")
        rows = enumerate(_parsed("".join(pieces), str(path), "Write it again."))
    else:
        remedy = "Only the last line may be torn; remove the broken line, or write the file again."
        named = ((f"Line {number} of {path}", line) for number, line in itertools.chain([first], lines))
        rows = enumerate(_parsed(line, where, remedy) for where, line in named)
    for index, row in rows:
        if not isinstance(row, Mapping):
            raise ValueError(
                f"Row {index} of {path} is {_kind_of(row)}. A row is an object with named columns; remove it, or write "
                "it as one."
            )
        yield row


def _kind_of(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def _parsed(text: str, where: str, remedy: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON ({error}). {remedy}") from error
    except RecursionError as error:
        raise ValueError(f"{where} is nested too deeply. {remedy}") from error


def _csv_rows(path: Path, text: IO[str]) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(MAX_LINE)  # the default is less than a figure in Base64
    number = 1
    try:
        for number, row in enumerate(csv.DictReader((line for _, line in _lines(path, text)), strict=True), start=1):
            if None in row:
                raise ValueError(f"Row {number} of {path} has more cells than the header. Quote cells with commas.")
            yield row
    except csv.Error as error:
        raise ValueError(f"Row {number} of {path} is not CSV ({error}). Write the file again.") from error


def check_json_files(folder: Path) -> None:
    """Refuse JSON files of a dataset's folder that would end the process in the reader of `datasets`.

    That is one that begins with neither an object nor a list, or is nested too deeply (pyarrow 25, apache/arrow).

    Raises:
        ValueError: naming the file.
    """
    for path in sorted(folder.rglob("*.json*")):
        if not path.is_file() or table_kind(path) not in (".jsonl", ".json"):
            continue
        try:
            with _COMPRESSED.get(path.suffix.lower(), open)(path, "rb") as file:
                start = file.read(2**16).lstrip(b"\xef\xbb\xbf \t\r\n")
                if start and start[:1] not in (b"{", b"[", b"\xff", b"\xfe"):
                    raise ValueError(
                        f"{path} begins with {start[:20]!r}. A JSON file of rows begins with an object or a list; "
                        "remove the file, or write it again."
                    )
                file.seek(0)
                if _may_be_deep(file):
                    file.seek(0)
                    for line in file if table_kind(path) == ".jsonl" else [file.read(MAX_DOCUMENT)]:
                        _check_depth(line, path)
        except (OSError, EOFError, lzma.LZMAError) as error:
            raise ValueError(f"{path} cannot be read ({error}). Fetch it again.") from error


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
