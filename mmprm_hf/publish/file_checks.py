"""What a single file must not contain when it is uploaded: secrets, paths of one machine, pickles, a torn end.

Texts are read in blocks, whatever their size. Of a safetensors file only the header is read, of a Parquet file the
footer and the columns that name files: **other cells of a Parquet file are not checked.** A secret is never shown
whole. Standard library only; PyArrow is imported for a Parquet file.
"""

from __future__ import annotations

import codecs
import dataclasses
import json
import os
import re
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

BLOCK = 1 << 20  # bytes read at a time
OVERLAP = 512  # bytes; longer than any secret that is looked for, so that a cut between blocks hides none
MAX_SHOWN_LINES = 3  # of one rule in one file; the others are counted
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt")  # "/home/user" may be a token there

SECRET, MACHINE_PATH, PICKLE, DAMAGED = "secret", "machine path", "pickle", "damaged file"
_REMEDIES = {
    SECRET: "Take it out, and revoke it if anybody may have seen it.",
    MACHINE_PATH: "It means nothing elsewhere and shows who ran this; write a Hub id or a relative path.",
    PICKLE: "Loading a pickle runs code; save weights as safetensors, arrays and tables as Parquet or JSON.",
    DAMAGED: "Write the file again.",
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One reason not to upload a file.

    Args:
        file: Its path in the folder.
        rule: Which rule it breaks.
        seen: What was found, secrets masked.
        remedy: What to do.
        lines: The first lines where it stands, from 1; empty where lines mean nothing.
        num_more: Further lines.
    """

    file: str
    rule: str
    seen: str
    remedy: str
    lines: tuple[int, ...] = ()
    num_more: int = 0

    def __str__(self) -> str:
        where = f", line {', '.join(map(str, self.lines))}" if self.lines else ""
        more = f" and {self.num_more:,} more" if self.num_more else ""
        return f"{self.file}{where}{more}: {self.rule}: {self.seen}. {self.remedy}"


_PATH_END = rb"[^\s\"'`<>|,;)\]}\\]"
_PATH_START = rb"/(?<![\w.~})*-]/)"  # not inside a URL or a relative path, nor after a variable
# (what it is, texts of which one must occur, pattern). The texts are found much faster than the pattern.
_SECRETS = (
    ("a Hugging Face token", (b"hf_",), rb"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{30,}"),
    ("an API key", (b"sk-",), rb"(?<![A-Za-z0-9])sk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{20,}"),
    ("an AWS key", (b"AKIA", b"ASIA"), rb"(?<![A-Za-z0-9])A[KS]IA[0-9A-Z]{16}(?![0-9A-Za-z])"),
    (
        "a GitHub token",
        (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_"),
        rb"gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{40,}",
    ),
    ("a GitLab token", (b"glpat-",), rb"glpat-[\w-]{20,}"),
    ("a Google key", (b"AIza",), rb"(?<![A-Za-z0-9])AIza[\w-]{35}"),
    ("a Slack token", (b"xox",), rb"(?<![A-Za-z0-9])xox[abprs]-[\w-]{10,}"),
    ("a private key", (b"PRIVATE KEY",), rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    ("a bearer token", (b"earer", b"EARER"), rb"(?i)authorization[\"'\\]*\s*[:=,]\s*[\"'\\]*bearer\s+[\w.~+/=-]{16,}"),
    ("a password in a URL", (b"://",), rb"://[^\s/:@\"'<>{}$]+:[^\s/:@\"'<>{}$]{6,}@(?=[\w.-])"),
)
_MACHINE_PATHS = (
    (b"/home/", b"/Users/", b"/root/", b"/tmp/", b"/mnt/", b"/scratch/", b"/workspace/", b"/var/folders/"),
    _PATH_START + rb"(?:home|Users|root|tmp|mnt|scratch|workspace|var/folders)/" + _PATH_END + rb"+",
)
_BARE_PATHS = ((b"/root", b"/tmp"), _PATH_START + rb"(?:root|tmp)(?=[\"'\s])")
_WINDOWS_PATHS = ((b"Users",), rb"(?<![A-Za-z])[A-Za-z]:[\\/]{1,2}Users[\\/]{1,2}" + _PATH_END + rb"+")


# Folders at the root of every Linux or macOS; people's paths below them have rules of their own.
_STANDARD_FOLDERS = (
    "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "lost+found", "media", "mnt", "opt", "proc",
    "root", "run", "sbin", "snap", "srv", "sys", "tmp", "usr", "var", "Applications", "Library", "Network", "System",
    "Users", "Volumes", "cores", "private",
)  # fmt: skip


def root_folders() -> list[str]:
    """Names of the folders at this machine's root that are its own, such as a cluster's "gpfs"."""
    if os.sep != "/":
        return []
    with os.scandir("/") as entries:
        names = [entry.name for entry in entries if entry.is_dir() and entry.name not in _STANDARD_FOLDERS]
    return sorted(name for name in names if len(name) > 2 and not name.startswith("."))  # "/a/b" may be a fraction


def _own_folders() -> list[bytes]:
    """Folders of this very machine, whatever their names, but for short ones such as "/"."""
    folders = {Path.cwd(), Path.home(), Path(tempfile.gettempdir())}
    return [os.fsencode(folder) for folder in sorted(folders) if len(folder.parts) > 2]


def _text_rules(with_paths: bool = True) -> list[tuple[str, str, tuple[bytes, ...], re.Pattern[bytes]]]:
    """Rules for texts, with those for paths of machines or without: (rule, what it finds, texts of which one must
    occur, pattern)."""
    rules = [(SECRET, words, needles, re.compile(pattern)) for words, needles, pattern in _SECRETS]
    if with_paths:
        paths = [_MACHINE_PATHS, _BARE_PATHS, _WINDOWS_PATHS]
        paths += [((folder,), _PATH_START + re.escape(folder[1:]) + rb"(?![\w-])") for folder in _own_folders()]
        for name in map(os.fsencode, root_folders()):
            paths.append(((b"/" + name + b"/",), _PATH_START + re.escape(name) + rb"/" + _PATH_END + rb"+"))
        rules += [(MACHINE_PATH, "", needles, re.compile(pattern)) for needles, pattern in paths]
    return rules


def _masked(rule: str, words: str, match: bytes) -> str:
    """What a finding prints: a path, cut; a secret's kind and first characters."""
    text = match.decode("utf-8", "replace")
    return f"{words} ({text[:4]}…)" if rule == SECRET else repr(text[:80])


def _matches(blocks: Iterator[tuple[int, int, bytes]], rules: list) -> Iterator[tuple[int, str, str]]:
    """(line, rule, what was seen) in blocks that come with their line and how many bytes came already before."""
    for line, num_old, block in blocks:
        for rule, words, needles, pattern in rules:
            if any(needle in block for needle in needles):
                for match in pattern.finditer(block):
                    if match.end() > num_old:
                        yield line + block.count(b"\n", 0, match.start()), rule, _masked(rule, words, match.group())


def _blocks(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Blocks of a file, each beginning with the end of the one before."""
    line, old = 1, b""
    with path.open("rb") as file:
        while new := file.read(BLOCK):
            yield line, len(old), old + new
            line += (old + new).count(b"\n", 0, max(0, len(old) + len(new) - OVERLAP))
            old = (old + new)[-OVERLAP:]


def _gathered(name: str, matches: Iterator[tuple[int, str, str]], has_lines: bool = True) -> Iterator[Finding]:
    """One finding per rule and file, with the first lines: a long file would drown all others."""
    lines: dict[str, list[int]] = {}
    seen: dict[str, str] = {}
    for line, rule, words in matches:
        seen.setdefault(rule, words)
        if line not in lines.setdefault(rule, [])[-1:]:
            lines[rule].append(line)
    for rule, numbers in lines.items():
        numbers = tuple(sorted(set(numbers)))
        num_more = max(0, len(numbers) - MAX_SHOWN_LINES)
        where = (numbers[:MAX_SHOWN_LINES], num_more) if has_lines else ((), 0)
        yield Finding(name, rule, seen[rule], _REMEDIES[rule], *where)


def check_file(path: Path, name: str) -> Iterator[Finding]:
    """Findings in the content of one file; `name` is its path in the folder."""
    with path.open("rb") as file:
        start = file.read(8192)
    if path.suffix == ".safetensors":
        yield from _check_safetensors(path, name)
    elif path.suffix == ".parquet":
        yield from _check_parquet(path, name)
    elif what := _pickle_in(path, start):
        yield Finding(name, PICKLE, what, _REMEDIES[PICKLE])
    elif start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield from _check_text(name, path.read_bytes().decode("utf-16", "replace"), "its UTF-16 text")
    elif b"\0" in start:  # a figure, say; or a text with a NUL in it, which may hold secrets
        yield from _gathered(name, _matches(_blocks(path), _text_rules(with_paths=False)), has_lines=False)
    else:
        yield from _gathered(name, _matches(_blocks(path), _text_rules(with_paths=path.name not in VOCABULARIES)))


def _pickle_in(path: Path, start: bytes) -> str | None:
    """What kind of pickle a file is, by its content before its name; None if it is not one."""
    if len(start) > 1 and start[0] == 0x80 and 2 <= start[1] <= 5:  # the opcode PROTO and a version
        return f"a pickle of protocol {start[1]}"
    if start.startswith(b"\x93NUMPY") and b"'|O" in start[:4096]:
        return "a NumPy file of Python objects, which is a pickle"
    if start.startswith(b"PK\x03\x04") and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if member.endswith(".pkl"):
                    return f"an archive that holds the pickle {member}, as torch.save writes it"
                if member.endswith(".npy"):
                    with archive.open(member) as file:
                        if b"'|O" in file.read(4096):
                            return f"a NumPy archive whose {member} holds Python objects, which is a pickle"
    if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".ckpt"):
        return f"a {path.suffix} file, which is usually a pickle"
    return None


def _check_text(name: str, text: str, where: str) -> Iterator[Finding]:
    """Findings in a text that stands inside a binary file."""
    matches = _matches(iter([(1, 0, text.encode())]), _text_rules())
    for finding in _gathered(name, matches, has_lines=False):
        yield dataclasses.replace(finding, seen=f"{finding.seen} in {where}")


def _check_safetensors(path: Path, name: str) -> Iterator[Finding]:
    """Findings in the header's metadata, and whether the file ends where its header says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(size - 8, 1 << 28):
            yield Finding(name, DAMAGED, "it has no safetensors header", _REMEDIES[DAMAGED])
            return
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            yield Finding(name, DAMAGED, f"its safetensors header is not JSON ({error})", _REMEDIES[DAMAGED])
            return
    metadata = header.pop("__metadata__", {})
    end = 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    if end != size:
        seen = f"it has {size:,} bytes, but its header says {end:,}: it was not written to its end"
        yield Finding(name, DAMAGED, seen, _REMEDIES[DAMAGED])
    yield from _check_text(name, json.dumps(metadata, ensure_ascii=False), "the header")


def _check_parquet(path: Path, name: str) -> Iterator[Finding]:
    """Findings in the footer's metadata and in the columns in which `datasets` keeps the path of a figure."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        yield Finding(name, DAMAGED, f"it cannot be read as Parquet ({error})", _REMEDIES[DAMAGED])
        return
    with file:
        metadata = file.metadata.metadata or {}
        texts = [value.decode("utf-8", "replace") for key, value in metadata.items() if key != b"ARROW:schema"]
        yield from _check_text(name, "\n".join(texts), "the footer")
        columns = [file.schema.column(index).path for index in range(len(file.schema))]
        for column in columns:
            if column.split(".")[-1] != "path":
                continue
            for batch in file.iter_batches(columns=[column], batch_size=4096):
                match = re.search(r'"(/[^"]+|[A-Za-z]:\\[^"]+)"', json.dumps(batch.to_pylist(), ensure_ascii=False))
                if match:
                    seen = f"{match.group(1)[:80]!r} in the column {column}"
                    remedy = "Embed the figures' bytes and keep at most their file names as path."
                    yield Finding(name, MACHINE_PATH, seen, remedy)
                    break
