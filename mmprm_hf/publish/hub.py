"""`push`: upload a folder to a repository of the Hub, after everything in it has been checked.

The upload itself is huggingface_hub's `upload_folder`, which resumes: repeat a push that was interrupted, and what has
arrived is not sent again. Nothing is sent, not even a question, before all checks have passed.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..errors import UnknownNameError
from ..files import read_json, write_atomically, write_json
from ..models import start_of_adapter
from .folder_checks import (
    Kind,
    Listing,
    PushRefusedError,
    check_folder,
    lacking_in_card,
    list_folder,
    read_front_matter,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi


_UNNAMED = 'from_pretrained("...")'  # as PRMTrainer writes it, which does not know where its model will be


class PushStoppedError(OSError):
    """The Hub did not take the folder; what has arrived stays, and the same push resumes from there."""


def push(
    folder: str | Path,
    repo_id: str,
    *,
    kind: Kind,
    revision: str | None = None,
    private: bool = False,
    dry_run: bool = False,
    token: str | None = None,
    message: str | None = None,
    allow: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    replace: bool = False,
) -> dict[str, Any]:
    """Upload a folder to the Hub, making the repository and the branch if they are not there.

    Refused before anything is sent, all reasons at once: secrets, machine paths, pickles, links that leave the folder,
    unexpected or unfinished files, a missing card, and an adapter whose base is unknown to others.

    Args:
        folder: What to upload; a trainer's checkpoints in it are not uploaded.
        repo_id: "owner/name".
        kind: What the repository is: "dataset", "model" or "space".
        revision: A branch, made from the main one if it is not there; None takes the main one.
        private: Make a new repository private; one that exists must be private already. False leaves a new one to
            the owner's default, which is public for most.
        dry_run: Check and list the files, and send nothing.
        token, message: None takes the token of `hf auth login` or `HF_TOKEN`, and a message that counts the files.
        allow: Files to upload despite a finding, by name or path; one with a secret as "name:secret".
        leave_out: Patterns of files and folders that must not be uploaded.
        replace: Delete everything else in the repository in the same commit, such as shards of an older dataset.

    Returns:
        ``{"repo_id", "kind", "revision", "private", "dry_run", "num_files", "num_bytes", "files", "left_out",
        "lacking_in_card"}``; after an upload ``{"url", "commit", "others"}``, the last of them files from before.

    Raises:
        PushRefusedError: with all findings.
        PushStoppedError: if the Hub could not be reached, refused, or the upload broke off.
        ValueError: for an unknown kind, a malformed `repo_id`, a pattern or name that matches nothing, a repository
            that is public although `private` is asked for, or a folder that changes meanwhile.

    Example:
        >>> push("out/prm", "me/my-prm", kind="model", dry_run=True)["num_files"]  # doctest: +SKIP
        8
    """
    folder = Path(folder)
    if kind not in get_args(Kind):
        raise UnknownNameError("kind", kind, get_args(Kind))
    _check_name(repo_id)
    listing, findings = check_folder(folder, kind, allow, leave_out)
    if findings:
        raise PushRefusedError(folder, findings)
    target = {"repo_id": repo_id, "kind": kind, "revision": revision or "main", "private": private, "dry_run": dry_run}
    report = {**target, **_summary(listing), "lacking_in_card": lacking_in_card(folder, kind)}
    if dry_run:
        return report
    if list_folder(folder, kind, leave_out) != listing:
        raise ValueError(f"{folder.name} changed while it was checked. Wait until nothing writes into it, then push.")
    return {**report, **_send(folder, report, listing, token, message, replace)}


def _name_repository(folder: Path, repo_id: str) -> None:
    """Name the repository itself where its files leave that open: in a card's code, and in an adapter with a config.

    Of such an adapter transformers' Auto classes look there for the configuration, which names what it belongs to.
    """
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8-sig")
    if _UNNAMED in text:
        write_atomically(card, text.replace(_UNNAMED, f'from_pretrained("{repo_id}")'))
    if start_of_adapter(folder) is not None:
        path = folder / "adapter_config.json"
        write_json(path, {**read_json(path), "base_model_name_or_path": repo_id})


def _summary(listing: Listing) -> dict[str, Any]:
    """What a report has of a folder's files."""
    return {
        "num_files": len(listing.files),
        "num_bytes": sum(entry.num_bytes for entry in listing.files),
        "files": [{"path": entry.path, "num_bytes": entry.num_bytes} for entry in listing.files],
        "left_out": listing.left_out,
    }


def _check_name(repo_id: str) -> None:
    """Raise unless the Hub could have a repository of this name with its owner."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
        reason = "" if "/" in repo_id else "it has no owner"
    except HFValidationError as error:
        reason = str(error)
    if reason:
        raise ValueError(f"Found the repository {repo_id!r}. It is written owner/name, such as me/my-prm: {reason}")


def _send(
    folder: Path, report: dict[str, Any], listing: Listing, token: str | None, message: str | None, replace: bool
) -> dict[str, Any]:
    """Upload what the report lists; return the address, the commit, and other files that the repository holds."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    if constants.is_offline_mode():
        raise PushStoppedError("HF_HUB_OFFLINE is set, so nothing can be uploaded. Unset it, then push again.")
    # The HTTP client's own base error, whichever client this huggingface_hub has; the uploads raise RuntimeError.
    network_errors = (HfHubHTTPError.__bases__[0], OSError, RuntimeError)
    api = HfApi(token=token)
    _name_repository(folder, report["repo_id"])
    where = {"repo_id": report["repo_id"], "repo_type": report["kind"]}
    try:
        url = _open_repository(api, folder, report)
        commit = api.upload_folder(
            **where,
            folder_path=folder,
            revision=report["revision"],
            commit_message=message or f"Upload {report['num_files']} files",
            ignore_patterns=[pattern for name in listing.left_out for pattern in _patterns_of(name)],
            delete_patterns="*" if replace else None,
        )
        remote = set(api.list_repo_files(**where, revision=commit.oid))
    except network_errors as error:
        raise PushStoppedError(_explain(error, report["repo_id"])) from error
    names = {entry.path for entry in listing.files}
    if lost := sorted(names - remote):
        raise PushStoppedError(
            f"The Hub left out {', '.join(lost[:5])}{' ...' if lost[5:] else ''}, as a .gitignore of the repository "
            "asks. Correct that file, then push again."
        )
    others = sorted(remote - names - {".gitattributes"})
    return {"url": url, "commit": commit.oid, "others": others}


def _open_repository(api: HfApi, folder: Path, report: dict[str, Any]) -> str:
    """Make repository and branch where they are missing; the address of the branch.

    Raises:
        ValueError: if the repository is public but a private one is asked for.
    """
    kind, revision = report["kind"], report["revision"]
    where = {"repo_id": report["repo_id"], "repo_type": kind}
    sdk = read_front_matter(folder / "README.md")["sdk"] if kind == "space" else None
    # False would make a repository public against the owner's default.
    url = api.create_repo(**where, private=report["private"] or None, exist_ok=True, space_sdk=sdk)
    if report["private"] and not api.repo_info(**where).private:
        raise ValueError(
            f"{report['repo_id']} is public, but a private repository is asked for; nothing was uploaded. Make it "
            "private in its settings on the Hub, or give another name."
        )
    if revision == "main":
        return str(url)
    api.create_branch(**where, branch=revision, exist_ok=True)
    return f"{url}/tree/{revision}"


def _patterns_of(name: str) -> tuple[str, str]:
    """Patterns of one left-out file or folder, as `upload_folder` reads them."""
    return glob.escape(name), f"{glob.escape(name)}/*"


def _explain(error: BaseException, repo_id: str) -> str:
    """What stopped a push, and what to do."""
    cause = error.__cause__ or error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if status in (401, 403):
        return (
            f"The Hub does not let this token write to {repo_id} ({status}). Log in with `hf auth login`, or give a "
            "token with write access to this owner."
        )
    reason = " ".join(f"{type(cause).__name__}: {cause}".split())
    return (
        f"The upload to {repo_id} stopped ({reason[:300]}). A commit is whole or absent; push again, and what has "
        "arrived is not sent again."
    )


def format_push(report: dict[str, Any]) -> str:
    """Return a `push` report for the terminal: files with sizes, what is left out, and where the files went."""
    sizes = [(_size(row["num_bytes"]), row["path"]) for row in report["files"]]
    width = max((len(size) for size, _ in sizes), default=0)
    lines = [f"  {size:>{width}}  {path}" for size, path in sizes]
    for name, num_files in report["left_out"].items():
        lines.append(f"  left out: {name} ({num_files} file{'' if num_files == 1 else 's'})")
    if report["lacking_in_card"]:
        lines.append(f"  README.md names no {', '.join(report['lacking_in_card'])}; add what is known to its YAML")
    total = f"{report['num_files']} files, {_size(report['num_bytes'])}"
    target = f"{report['kind']} {report['repo_id']}, branch {report['revision']}"
    if report["private"]:
        target += ", private"
    if report["dry_run"]:
        lines += ["", f"dry run, nothing was sent: {total} would go to the {target}"]
        return "\n".join(lines)
    lines += ["", f"{total} are in the {target}", f"{report['url']}  (commit {report['commit'][:12]})"]
    if report["others"]:
        others = ", ".join(report["others"][:5]) + (" ..." if report["others"][5:] else "")
        lines.append(f"also there, from before: {others} (replace deletes them)")
    return "\n".join(lines)


def _size(num_bytes: int) -> str:
    """Bytes as people read them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes} B"
