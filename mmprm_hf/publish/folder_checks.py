"""What a folder may hold that goes to the Hub: every file by an allow-list, and nothing that should stay private.

All findings are gathered before they are reported: correcting one at a time costs a run each. Reads, never writes, and
asks no server.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from ..errors import UnknownNameError
from ..files import read_json
from .card_facts import HUB_ID
from .cards import PLACEHOLDERS
from .file_checks import SECRET, Finding, check_file

Kind = Literal["dataset", "model", "space"]
UNKNOWN, LINK, CARD, BASE = "unknown file", "link", "card", "unknown base"

_EVERYWHERE = (
    *("README.md", "*.md", "LICENSE*", "NOTICE*", "CITATION.cff", ".gitattributes", "*.json", "*.yaml", "*.yml"),
    *("*.png", "*.jpg", "*.jpeg", "*.webp", "*.gif", "*.svg"),
)
KNOWN_FILES: dict[str, tuple[str, ...]] = {
    "model": (*_EVERYWHERE, "*.safetensors", "*.py", "*.jinja", "*.txt", "*.model", "*.tiktoken"),
    "dataset": (*_EVERYWHERE, "*.parquet", "*.jsonl", "*.csv", "*.tsv", "*.txt"),
    "space": (*_EVERYWHERE, "*.py", "requirements.txt", "packages.txt", "pre-requirements.txt", "*.css", "*.html"),
}
_SECRET_FILES = (
    *(".env", ".env.*", "*.env", ".netrc", "_netrc", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.pem"),
    *("*.key", "*.p12", ".git-credentials", ".pypirc", ".npmrc", ".htpasswd", "credentials*", "token", "kaggle.json"),
)
LEFT_OUT: dict[str, tuple[str, ...]] = {  # never uploaded and no reason to stop; counted
    "everywhere": (".git", ".cache", "__pycache__", ".DS_Store", ".ipynb_checkpoints", ".lock"),
    "model": ("checkpoint-*", "training_args.bin", "runs"),  # a trainer's working state: pickles, logs
    "dataset": ("journal",),  # a labelling run's working state
    "space": (),
}

_UNFILLED = (  # lines of a card whose facts have the placeholders of the template
    *(f"# {PLACEHOLDERS['name']}", f"pretty_name: {PLACEHOLDERS['name']}"),
    *(PLACEHOLDERS["summary"], f"license: {PLACEHOLDERS['license']}"),
)
_METADATA = {"model": ("license", "base_model", "datasets"), "dataset": ("license",), "space": ()}


@dataclasses.dataclass(frozen=True)
class FileEntry:
    """One file to upload: its path in the folder, with forward slashes; `modified` tells whether it changed since."""

    path: str
    num_bytes: int
    modified: int


@dataclasses.dataclass(frozen=True)
class Listing:
    """A folder's files, sorted, and the entries that are not uploaded with the number of files in each."""

    files: tuple[FileEntry, ...]
    left_out: dict[str, int]
    findings: tuple[Finding, ...]


class PushRefusedError(ValueError):
    """A folder must not go to the Hub as it is; `findings` holds all reasons."""

    def __init__(self, folder: Path, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        lines = "\n".join(f"  {finding}" for finding in findings)
        count = f"{len(findings)} finding{'s' if len(findings) > 1 else ''}"
        names = sorted({finding.file for finding in findings if finding.rule not in (CARD, LINK, BASE)})
        advice = (
            f"\nA file that is right as it is can be allowed by name (allow {names[0]!r}; a secret in it only by "
            f"{names[0] + ':' + SECRET!r}); leave out a file that must not be uploaded."
            if names
            else ""
        )
        super().__init__(f"{count} in {folder.name}; nothing was uploaded.\n{lines}{advice}")


def _matching(name: str, patterns: Sequence[str]) -> str | None:
    """The first pattern that a file name or a whole path matches."""
    base = name.rsplit("/", 1)[-1]
    return next((p for p in patterns if fnmatch.fnmatchcase(base, p) or fnmatch.fnmatchcase(name, p)), None)


def list_folder(folder: Path, kind: Kind, leave_out: Sequence[str] = ()) -> Listing:
    """Return the files that would be uploaded, and those that would not.

    Args:
        folder: The folder.
        kind: What the repository is.
        leave_out: Patterns of further files and folders to leave out, by name ("*.html") or path ("logs/a.json").

    Raises:
        ValueError: if there is no such folder, or a pattern matches nothing.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder. Give the folder whose files are to be uploaded.")
    patterns = (*LEFT_OUT["everywhere"], *LEFT_OUT[kind], *leave_out)
    files: list[FileEntry] = []
    left_out: dict[str, int] = {}
    findings: list[Finding] = []
    used: set[str] = set()
    for parent, folders, names in os.walk(folder):
        prefix = "" if Path(parent) == folder else Path(parent).relative_to(folder).as_posix() + "/"
        for name in sorted([*folders, *names]):
            path, relative = Path(parent, name), prefix + name
            pattern = _matching(relative, patterns)
            if pattern:
                used.update(p for p in leave_out if _matching(relative, [p]))
                is_folder = path.is_dir() and not path.is_symlink()
                left_out[relative] = sum(p.is_file() for p in path.rglob("*")) if is_folder else 1
            elif path.is_symlink() and (finding := _check_link(path, relative, folder)):
                findings.append(finding)
            elif not path.is_dir():
                status = path.stat()
                files.append(FileEntry(relative, status.st_size, status.st_mtime_ns))
        folders[:] = sorted(name for name in folders if prefix + name not in left_out)
    if unused := [pattern for pattern in leave_out if pattern not in used]:
        raise ValueError(f"No file or folder in {folder.name} matches {unused[0]!r}, which is to be left out.")
    return Listing(tuple(sorted(files, key=lambda entry: entry.path)), left_out, tuple(findings))


def _check_link(path: Path, name: str, folder: Path) -> Finding | None:
    """The reason why a symbolic link cannot be uploaded, or None: only links to files inside the folder can."""
    remedy = "Put a copy of the file in its place (cp -rL copies a folder with what its links point to)."
    if not path.exists():
        return Finding(name, LINK, "a symbolic link to nothing", remedy)
    if not path.resolve().is_relative_to(folder.resolve()):
        return Finding(name, LINK, "a symbolic link that leaves the folder", remedy)
    if path.is_dir():
        return Finding(name, LINK, "a symbolic link to a folder, which would be skipped", remedy)
    return None


def check_folder(
    folder: Path, kind: Kind, allow: Sequence[str] = (), leave_out: Sequence[str] = ()
) -> tuple[Listing, list[Finding]]:
    """Return the listing of a folder and every reason not to upload it.

    Args:
        folder, kind, leave_out: As in `list_folder`.
        allow: Files to upload despite a finding, by path or name. A file with a secret, or with the name of one, must
            be given as "name:secret": nobody should allow one while allowing something else.

    Raises:
        ValueError: as `list_folder`, or if an allowed file is not there.
    """
    listing = list_folder(folder, kind, leave_out)
    names = [entry.path for entry in listing.files]
    for allowed in allow:
        file = allowed.removesuffix(f":{SECRET}")
        if not any(_is_named(name, file) for name in names):
            raise UnknownNameError("file", file, names, f" in allow; it is not in {folder.name}")
    findings = [*listing.findings, *_check_card(folder, kind), *_check_adapter(folder)]
    for entry in listing.files:
        findings += [finding for finding in _check_entry(folder, entry, kind) if not _is_allowed(finding, allow)]
    return listing, findings


def _is_named(path: str, name: str) -> bool:
    """Whether a path in the folder is named by a path or a bare file name."""
    return name in (path, path.rsplit("/", 1)[-1])


def _is_allowed(finding: Finding, allow: Sequence[str]) -> bool:
    """Whether the user has allowed this file, and a secret in it as such."""
    if finding.rule == SECRET:
        allow = [allowed.removesuffix(f":{SECRET}") for allowed in allow if allowed.endswith(f":{SECRET}")]
    return any(_is_named(finding.file, allowed) for allowed in allow)


def _check_entry(folder: Path, entry: FileEntry, kind: Kind) -> list[Finding]:
    """Findings about one file: its name, then its content."""
    if _matching(entry.path, _SECRET_FILES):
        remedy = "Move it out of the folder, and revoke what it holds if anybody may have seen it."
        return [Finding(entry.path, SECRET, "a file of this name holds credentials", remedy)]
    findings = list(check_file(folder / entry.path, entry.path))
    if not findings and not _matching(entry.path, KNOWN_FILES[kind]):
        remedy = f"A {kind} holds {', '.join(KNOWN_FILES[kind])}; remove the file, leave it out, or allow it by name."
        return [Finding(entry.path, UNKNOWN, f"{entry.num_bytes:,} bytes of an unexpected kind", remedy)]
    return findings


def read_front_matter(card: Path) -> dict[str, Any]:
    """Return the YAML front matter of a card.

    Raises:
        ValueError: naming what is wrong with it.
    """
    if not card.is_file():
        raise ValueError("there is none")
    text = card.read_text(encoding="utf-8-sig")
    parts = text.split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        raise ValueError("it does not begin with YAML between two lines of three dashes")
    try:
        content = yaml.safe_load(parts[1])
    except yaml.YAMLError as error:
        raise ValueError(f"its front matter is not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict) or not content:
        raise ValueError("its front matter holds no keys")
    return content


def _check_card(folder: Path, kind: Kind) -> list[Finding]:
    """A repository without a card cannot be found or understood, and a Space without one does not start."""
    if kind == "space":
        remedy = "Write the Space's folder with mmprm_hf.app.write_space."
    else:
        remedy = "Write it from facts: mmprm card facts.json -o README.md."
    try:
        front_matter = read_front_matter(folder / "README.md")
    except (ValueError, UnicodeDecodeError) as error:
        return [Finding("README.md", CARD, str(error), remedy)]
    if kind == "space":
        missing = [key for key in ("sdk", "app_file") if not front_matter.get(key)]
        if missing:
            return [Finding("README.md", CARD, f"its front matter lacks {' and '.join(missing)}", remedy)]
        if not (folder / str(front_matter["app_file"])).is_file():
            return [Finding("README.md", CARD, f"its app_file {front_matter['app_file']!r} is not there", remedy)]
    lines = (folder / "README.md").read_text(encoding="utf-8-sig").splitlines()
    unfilled = tuple(number for number, line in enumerate(lines, 1) if line in _UNFILLED)
    if unfilled:
        words = ", ".join(repr(lines[number - 1]) for number in unfilled)
        remedy = "Fill in the facts, and write the card again: mmprm card facts.json -o README.md."
        return [Finding("README.md", CARD, f"placeholders are still to be filled in ({words})", remedy, unfilled)]
    return []


def lacking_in_card(folder: Path, kind: Kind) -> list[str]:
    """Return the names of what the metadata of a checked folder's card lack, by which people find and judge it."""
    front_matter = read_front_matter(folder / "README.md")
    return [key for key in _METADATA[kind] if front_matter.get(key) in (None, "", [], "unknown")]


def _check_adapter(folder: Path) -> list[Finding]:
    """An adapter is of use only to those who have what it was trained on."""
    file, key = "adapter_config.json", "base_model_name_or_path"
    if not (folder / file).is_file():
        return []
    base = read_json(folder / file).get(key)
    if (folder / "config.json").is_file() and read_json(folder / "config.json").get("policy"):
        file, key = "config.json", "policy"
        base = read_json(folder / file)[key]
    if not base:
        remedy = f"Write the hub id (owner/name) of its PRM into {file}, {key}; PRMTrainer does, where it is given one."
        return [Finding(file, BASE, "the adapter does not name what it was trained on", remedy)]
    if base.startswith(".") or Path(base).is_absolute() or Path(base).exists() or not HUB_ID.fullmatch(base):
        remedy = f"Push that folder first, and write its hub id (owner/name) into {file}, {key}."
        return [Finding(file, BASE, f"the adapter belongs to the folder {base!r}, which others do not have", remedy)]
    return []
