"""Which figures a data file may name: files in its own folder, or in folders and at addresses that a user allows.

A data file is somebody else's text: without this rule it could have any file of this machine shown to a server or
published, and any address fetched. Imports Pillow, never torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..models import fetch, holds_image, is_address

_MAX_PATH_CHARS = 300  # a longer text that names no file is a figure in Base64


@dataclasses.dataclass(frozen=True)
class FigureRules:
    """What a user allows the figures of a data file to be, beyond files in its folder.

    Args:
        roots: Further folders from which figures may be read.
        allow_urls: Whether addresses are fetched: False leaves them unread, True takes public hosts, a tuple those
            hosts alone. Private addresses are never fetched.
    """

    roots: tuple[str, ...] = ()
    allow_urls: bool | tuple[str, ...] = False


class FigureFinder:
    """Finds the figures that the rows of one data file name.

    Args:
        folder: The file's folder, or the dataset's; None for a dataset of the Hub, which names no files.
        rules: What else may be read.
    """

    def __init__(self, folder: Path | None, rules: FigureRules) -> None:
        self.folder, self.rules = folder, rules
        roots = [*([] if folder is None else [folder]), *rules.roots]
        self._roots = [os.path.realpath(root) for root in roots]
        if folder is None:
            from huggingface_hub.constants import HF_HOME

            self._roots.append(os.path.realpath(HF_HOME))  # where `datasets` puts the files of a repository
        elif folder.resolve().parent.name == "snapshots":  # huggingface_hub's cache: links to files of this repository
            self._roots.append(os.path.realpath(folder.resolve().parent.parent / "blobs"))
        self._fetched: dict[str, str | ValueError] = {}
        self._cache: tempfile.TemporaryDirectory | None = None

    def find(self, figures: Any) -> Any:
        """Return the figures of a cell with paths of files that may be read, and addresses fetched where allowed.

        What names no file (Base64, bytes, PIL images) stays as it is, and so does an address that is not allowed, which
        `load_image` refuses.

        Raises:
            ValueError: if a figure lies elsewhere, or an address that is allowed gives none.
        """
        if isinstance(figures, (list, tuple)):
            return [self.find(figure) for figure in figures]
        if isinstance(figures, Mapping) and figures.get("bytes") is None:
            name = next((figures[key] for key in ("path", "url") if figures.get(key) is not None), None)
            if name is None:
                return figures
            found = self.find(name)
            return found if isinstance(found, Mapping) else {"bytes": None, "path": found}
        if not isinstance(figures, str) or not figures.strip() or figures[:5].lower() == "data:":
            return figures
        if is_address(figures):
            return figures if self.rules.allow_urls is False else self._fetch(figures)
        return self._path(figures)

    def _path(self, figure: str) -> str:
        if figure[:7].lower() == "file://":
            path = urllib.request.url2pathname(urllib.parse.urlsplit(figure).path)  # %2e%2e is a dot dot
        else:
            path = os.path.join(self.folder or "", figure)
            is_path = os.path.isfile(path) or os.path.isfile(figure)
            if not is_path and (len(figure) > _MAX_PATH_CHARS or holds_image(figure)):
                return figure
        real = os.path.realpath(path)
        if not any(os.path.commonpath([real, root]) == root for root in self._roots):
            place = "the dataset" if self.folder is None else f"the folder of its file, {str(self.folder)!r}"
            raise ValueError(
                f"names the figure {figure!r:.200}, which lies outside {place}. Put the figure in there, or allow its "
                "folder (--figures-root)."
            )
        return path

    def _fetch(self, url: str) -> dict[str, Any]:
        """The content of an address, fetched once and kept on disk until the rows are closed."""
        if url not in self._fetched:
            try:
                content = fetch(url, None if self.rules.allow_urls is True else self.rules.allow_urls)
            except (ValueError, ConnectionError) as error:
                self._fetched[url] = ValueError(str(error))
            else:
                self._cache = self._cache or tempfile.TemporaryDirectory(prefix="mmprm-figures-")
                path = Path(self._cache.name, hashlib.sha256(url.encode("utf-8", "replace")).hexdigest())
                path.write_bytes(content)
                self._fetched[url] = str(path)
        fetched = self._fetched[url]
        if isinstance(fetched, ValueError):
            raise ValueError(f"has a figure that cannot be fetched: {fetched}")
        return {"bytes": Path(fetched).read_bytes(), "path": None}
