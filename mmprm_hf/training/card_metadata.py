"""Metadata of a model's card that depend on where model and data come from: license, base model, datasets.

What lies on disk has no id of the Hub; its own card may name where it comes from. The rest is left out, and said.
huggingface_hub is imported only where it is needed: the names of options are checked before anything heavy is loaded.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..files import write_atomically

KEYS = ("license", "base_model", "datasets")
_LICENSE = ("license", "license_name", "license_link")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_SENTENCE = re.compile(r"^The metadata above name no .*\n\n?", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class CardOptions:
    """What the card says of the model's origin, where model or data are on disk and their own cards do not say it.

    Args:
        license: License of the model, as the Hub spells it ("apache-2.0").
        base_model: Hub id of the policy or PRM that the training starts from.
        datasets: Hub ids of the training data; one may be a text.

    Example:
        >>> CardOptions(license="mit", datasets="me/labels").metadata()
        {'license': 'mit', 'datasets': ['me/labels']}
    """

    license: str | None = None
    base_model: str | None = None
    datasets: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name, value in (("base_model", self.base_model), *(("datasets", name) for name in self._datasets())):
            if value is not None and not _HUB_ID.fullmatch(value):
                raise ValueError(
                    f"{name} is {value!r}. Give an id of the Hub, owner/name; the card links nothing else."
                )

    def _datasets(self) -> list[str]:
        return [self.datasets] if isinstance(self.datasets, str) else list(self.datasets or ())

    def metadata(self) -> dict[str, Any]:
        """Return what is given, under the Hub's names."""
        given = {"license": self.license, "base_model": self.base_model, "datasets": self._datasets()}
        return {name: value for name, value in given.items() if value}


def metadata_of_start(start: str | None) -> dict[str, Any]:
    """Return the metadata that a model has from the one it starts from: an id of the Hub, or what a folder's card says.

    A folder's base model is the one that its own card names.
    """
    if start is None:
        return {}
    if not Path(start).exists():
        return {} if Path(start).is_absolute() else {"base_model": start}
    card = _front_matter(Path(start))
    known = {name: card[name] for name in _LICENSE if card.get(name) not in (None, "unknown")}
    return known | ({"base_model": base} if (base := _hub_ids(card.get("base_model"))) else {})


def metadata_of_data(data: str | Path) -> dict[str, Any]:
    """Return the datasets that the card of a data folder names as its sources; nothing for an id of the Hub.

    Args:
        data: A folder, whose card may lie above it where it is one configuration of several (``labels/paths``); a file
            in one; or a hub id.
    """
    folder = Path(data).parent if Path(data).is_file() else Path(data)
    if not folder.is_dir():
        return {}
    cards = (_front_matter(folder), _front_matter(folder.resolve().parent) if folder.resolve().name == "paths" else {})
    names = [_hub_ids(card.get(key)) for card in cards for key in ("datasets", "source_datasets")]
    known = next((ids for ids in names if ids), None)
    return {"datasets": known} if known else {}


def missing_metadata(metadata: Mapping[str, Any]) -> list[str]:
    """Return the names of what a card's metadata lack."""
    return [key for key in KEYS if metadata.get(key) in (None, [], "unknown")]


def missing_sentence(missing: Sequence[str]) -> str:
    """Return the sentence by which a card says what its metadata lack."""
    return f"The metadata above name no {', '.join(missing)}: it was not known to the training." if missing else ""


def add_to_card(folder: Path, options: CardOptions) -> None:
    """Add to the metadata of a finished training's card; nothing is written where nothing is given."""
    from huggingface_hub import ModelCard

    path = folder / "README.md"
    if not options.metadata() or not path.exists():
        return
    card = ModelCard.load(path)
    for name, value in options.metadata().items():
        setattr(card.data, name, value)
    sentence = missing_sentence(missing_metadata(card.data.to_dict()))
    card.text = _SENTENCE.sub(f"{sentence}\n\n" if sentence else "", card.text)
    write_atomically(path, str(card))


def lacking_in_card(folder: Path) -> list[str]:
    """Return the names of what the metadata of a folder's card lack."""
    return missing_metadata(_front_matter(folder))


def _front_matter(folder: Path) -> dict[str, Any]:
    """The YAML of a folder's card; empty where there is none that can be read."""
    from huggingface_hub import metadata_load

    try:
        return metadata_load(folder / "README.md") or {}
    except (OSError, ValueError, yaml.YAMLError):
        return {}


def _hub_ids(value: Any) -> Any:
    """The ids of the Hub in a text or a list, in the same form; None without any."""
    if isinstance(value, list):
        return [name for name in value if isinstance(name, str) and _HUB_ID.fullmatch(name)] or None
    return value if isinstance(value, str) and _HUB_ID.fullmatch(value) else None
