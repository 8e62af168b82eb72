"""Which figures a data file may name: files in its own folder, or in folders and at addresses that a user allows.

A data file is somebody else's text: without this rule it could have any file of this machine shown to a server or
published, and any address fetched. Imports Pillow, never torch.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import EngineUnavailableError
from ..models import fetch, holds_image, is_address, named_figure
from .figure_archives import find_in_archives, read_member
from .table_files import is_data_file

_MAX_PATH_CHARS = 300  # a longer text that names no file is a figure in Base64


@dataclasses.dataclass(frozen=True)
class FigureRules:
    """What a user allows the figures of a data file to be, beyond files in its folder.

    Args:
        roots: Further folders in which figures are looked for, and from which they may be read.
        allow_urls: Whether addresses are fetched: False leaves them unread, True takes public hosts, a tuple those
            hosts alone. Private addresses are never fetched; those of this machine only if they are named.
    """

    roots: tuple[str, ...] = ()
    allow_urls: bool | tuple[str, ...] = False


class FigureFinder:
    """Finds the figures that the rows of one data file name.

    A name is looked for in the folder, then in the roots, then beside a dataset's files of rows below the folder, then
    in the zip archives of folder and roots.

    Args:
        folder: The file's folder, or the dataset's; None for a dataset of the Hub, which names no files.
        rules: What else may be read.
        is_dataset: Whether the folder is a dataset's, whose files may lie in folders below.
    """

    def __init__(self, folder: Path | None, rules: FigureRules, is_dataset: bool = False) -> None:
        self.folder, self.rules, self._is_dataset = folder, rules, is_dataset
        self._folders = [*([] if folder is None else [os.fspath(folder)]), *rules.roots]
        roots = [*self._folders, *(_hub_caches() if folder is None else ())]
        self._roots = [os.path.realpath(root) for root in roots]
        self._roots += [os.path.realpath(place) for root in self._roots for place in _repository_folders(Path(root))]
        self._fetched: dict[str, str | ValueError] = {}
        self._cache: tempfile.TemporaryDirectory | None = None

    def find(self, figures: Any, where: str = "The row") -> Any:
        """Return the figures of a cell with paths of files that may be read, and addresses fetched where allowed.

        What names no file (Base64, bytes, PIL images) stays as it is, and so does an address that is not allowed, which
        `load_image` refuses. A figure in an archive becomes ``{"bytes", "path"}``.

        Args:
            figures: One figure, or a list of them.
            where: Which row it is, for errors.

        Raises:
            ValueError: if a figure lies elsewhere, or an address that is allowed gives none.
            EngineUnavailableError: if the server of an address cannot be reached: no row is at fault.
        """
        if isinstance(figures, (list, tuple)):
            return [self.find(figure, where) for figure in figures]
        if isinstance(figures, Mapping) and figures.get("bytes") is None:
            name = named_figure(figures)
            if name is None:
                return figures
            figure = self.find(name, where)
            return figure if isinstance(figure, Mapping) else {"bytes": None, "path": figure}
        if not isinstance(figures, str) or not figures.strip() or figures[:5].lower() == "data:":
            return figures
        if is_address(figures):
            return figures if self.rules.allow_urls is False else self._fetch(figures, where)
        return self._file(figures, where)

    def _file(self, name: str, where: str) -> Any:
        if "\0" in name:
            raise ValueError(f"{where} names the figure {name!r:.200}, which has a null character in it. Correct it.")
        if name[:7].lower() == "file://":
            path = urllib.request.url2pathname(urllib.parse.urlsplit(name).path)  # %2e%2e is a dot dot
            return self._allowed(path, name, where)
        if name[:6].lower() == "zip://" and "::" in name:  # so `datasets` names a member of an archive
            member, _, archive = name[6:].partition("::")
            return read_member(Path(self._allowed(archive, name, where)), member, where)
        paths = [os.path.join(folder, name) for folder in self._folders or ["."]]
        path = next(filter(os.path.isfile, paths), None)
        if path is None and not os.path.isfile(name) and (len(name) > _MAX_PATH_CHARS or holds_image(name)):
            return name
        path = self._allowed(path or self._below(name, where) or paths[0], name, where)
        if os.path.isfile(path):
            return path
        archives = (archive for folder in self._folders for archive in sorted(Path(folder).glob("*.zip")))
        return find_in_archives(filter(self._is_allowed, archives), name, where) or path

    def _below(self, name: str, where: str) -> str | None:
        """The file of this name beside the dataset's files of rows; None if there is none."""
        paths = [path for folder in self._folders_below if os.path.isfile(path := os.path.join(folder, name))]
        if len(paths) > 1:
            raise ValueError(
                f"{where} names the figure {name!r:.200}, of which there are several: {', '.join(paths[:3])}. Give the "
                "file of rows instead of its folder."
            )
        return paths[0] if paths else None

    @functools.cached_property
    def _folders_below(self) -> list[str]:
        if self.folder is None or not self._is_dataset:
            return []
        return sorted({str(path.parent) for path in self.folder.rglob("*") if is_data_file(path)} - {str(self.folder)})

    def _is_allowed(self, path: str | Path) -> bool:
        real = os.path.realpath(path)
        return any(os.path.commonpath([real, root]) == root for root in self._roots)

    def _allowed(self, path: str, name: str, where: str) -> str:
        if not self._is_allowed(path):
            real = os.path.realpath(path)
            place = "the dataset" if self.folder is None else f"the folder of its file, {str(self.folder)!r}"
            # Whether a file exists outside is not said, but where a link of the user's own leads is.
            is_link = any(os.path.abspath(path).startswith(os.path.join(os.path.abspath(f), "")) for f in self._folders)
            link = f", a link to {real!r:.200}" if is_link else ""
            raise ValueError(
                f"{where} names the figure {name!r:.200}{link}, which lies outside {place}. Put the figure in there, "
                f"or allow its folder (--figures-root{f' {os.path.dirname(real)}' if is_link else ''})."
            )
        return path

    def _fetch(self, url: str, where: str) -> dict[str, Any]:
        """The content of an address, fetched once and kept on disk until the rows are closed."""
        if url not in self._fetched:
            try:
                content = fetch(url, None if self.rules.allow_urls is True else self.rules.allow_urls)
            except ValueError as error:
                self._fetched[url] = error
            except ConnectionError as error:
                raise EngineUnavailableError(
                    f"{error} The run stops, because no row is at fault; the same command resumes it. If the server "
                    "is gone for good, remove its figures from the data."
                ) from error
            else:
                self._cache = self._cache or tempfile.TemporaryDirectory(prefix="mmprm-figures-")
                path = Path(self._cache.name, hashlib.sha256(url.encode("utf-8", "replace")).hexdigest())
                path.write_bytes(content)
                self._fetched[url] = str(path)
        fetched = self._fetched[url]
        if isinstance(fetched, ValueError):
            raise ValueError(f"{where} has a figure that cannot be fetched: {fetched}")
        return {"bytes": Path(fetched).read_bytes(), "path": None}


def _hub_caches() -> list[str]:
    """Where `datasets` puts the files of repositories; the folder above them has the token, too."""
    from datasets import config
    from huggingface_hub.constants import HF_HUB_CACHE

    return [HF_HUB_CACHE, str(config.HF_DATASETS_CACHE), str(config.DOWNLOADED_DATASETS_PATH)]


def _repository_folders(folder: Path) -> Iterator[Path]:
    """The snapshot of a repository in huggingface_hub's cache in which a folder lies, and the files its links lead to.

    The cache has ``datasets--owner--name/snapshots/REVISION``, whose files link to ``datasets--owner--name/blobs``.
    """
    for place in (folder, *folder.parents):
        repository = place.parent.parent
        if place.parent.name == "snapshots" and "--" in repository.name and (repository / "blobs").is_dir():
            yield from (place, repository / "blobs")
