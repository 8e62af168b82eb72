"""Whether a labelling run may begin in its folder, before a model is loaded. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UnknownNameError
from ..files import check_same_settings, read_json
from ..labelling import SEARCHES
from .options import read_config
from .places import check_output_folder


def check_label_folder(
    output: str | Path, search: str, config: Path | Mapping[str, Any] | None, seed: int, has_step_judge: bool = False
) -> None:
    """Raise if a folder holds something else than this labelling run; what its models are is compared later.

    Args:
        output, search, config, seed: As in `LabelOptions`; options of other dataclasses in `config` are passed over.
        has_step_judge: Whether steps are judged too, which makes another search of it.

    Raises:
        UnknownNameError: for an unknown search.
        SettingsDifferError: naming the settings that differ, or the files that lie there.
        ValueError: for an option of the search that is out of its range.
    """
    if search not in SEARCHES:
        raise UnknownNameError("search", search, SEARCHES)
    function, config_class = SEARCHES[search]
    check_output_folder(output, "a folder of labels", ("run.json", "trees.jsonl"), beside=("journal",))
    path = Path(output) / "run.json"
    if not path.exists():
        return
    names = {field.name for field in dataclasses.fields(config_class)}
    options = {name: value for name, value in (config or {}).items() if name in names}
    (values,) = read_config(options, config_class)
    now = {"config": dataclasses.asdict(config_class(**values)), "seed": seed}
    if not has_step_judge:
        now["search"] = f"{function.__module__}.{function.__qualname__}"
    before = read_json(path)
    before = {name: before.get(name) for name in now} if isinstance(before, Mapping) else before
    check_same_settings(path, before, now)
