"""Whether what a user names is there: the one check of paths, which costs nothing and comes before everything heavy.

A name that is neither a file nor a folder here may be an id of the Hub; then only the Hub can tell.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .table_files import ENDINGS, HUB_PREFIX, is_data_file

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?(@[\w./-]+)?")


def may_be_hub_id(name: str | Path) -> bool:
    """Whether the Hub could have a repository of this name.

    Example:
        >>> may_be_hub_id("owner/name"), may_be_hub_id("out/labels/paths"), may_be_hub_id("./data")
        (True, False, False)
    """
    return _HUB_ID.fullmatch(str(name)) is not None


def check_data_path(data: str | Path | None) -> None:
    """Raise unless there is such a file or folder of data, or the Hub may have it.

    Args:
        data: Whatever `RawRows` opens; None and "nano" are the nano world.

    Raises:
        FileNotFoundError: if it is neither here nor can be on the Hub.
        ValueError: if it is a file whose ending is not read.
    """
    if data is None or str(data) == "nano" or str(data).startswith(HUB_PREFIX) or Path(data).is_dir():
        return
    if Path(data).exists():
        if not is_data_file(data):
            raise ValueError(f"{str(data)!r} is not a file of rows by its ending. Rows are read from {ENDINGS} files.")
        return
    if is_data_file(data):
        raise FileNotFoundError(f"There is no file {str(data)!r} here. Give the path of a file that exists.")
    if not may_be_hub_id(data):
        raise FileNotFoundError(f"There is no file or folder {str(data)!r} here. Correct the path.")


def check_model_path(model: str | Path | None) -> None:
    """Raise unless there is such a folder of a model, or the Hub may have it.

    Args:
        model: Path or hub id; None is a default.

    Raises:
        FileNotFoundError: if it is neither here nor can be on the Hub.
        ValueError: if it is a file, or a folder without a configuration.
    """
    path = None if model is None else Path(model)
    if path is None or (may_be_hub_id(model) and not path.exists()):
        return
    if not path.exists():
        raise FileNotFoundError(f"There is no folder {str(model)!r} here. Give the folder of a model, or its hub id.")
    if not path.is_dir():
        raise ValueError(f"{str(model)!r} is a file. Give the folder of a model, or its hub id.")
    if not any((path / name).exists() for name in ("config.json", "adapter_config.json")):
        raise ValueError(f"The folder {str(model)!r} has no config.json: it is not a model. Give the folder of one.")


def check_file_path(path: str | Path | None, usual_name: str = "") -> None:
    """Raise unless this is a file; None is none.

    Args:
        path: The path.
        usual_name: What such a file is called: it is named where the path is its folder.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is a folder.
    """
    if path is None or os.path.isfile(path):
        return
    if os.path.isdir(path):
        if usual_name and os.path.isfile(os.path.join(path, usual_name)):
            raise ValueError(f"{str(path)!r} is a folder. Give the file in it: {os.path.join(path, usual_name)}.")
        raise ValueError(f"{str(path)!r} is a folder, and a file is needed there. Name a file in it.")
    raise FileNotFoundError(f"There is no file {str(path)!r} here. Give the path of a file that exists.")
