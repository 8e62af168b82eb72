"""What a verb's configuration takes beyond its flags: every key with its default and what it means.

Meanings come from the docstrings of the dataclasses. Imports no torch.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterable

from ..errors import UnknownNameError
from ..training import CardOptions, LoraOptions, trainer_options, training_options


def format_options(verb: str) -> str:
    """Return the keys of a verb's configuration with default and meaning, a line each, by dataclass.

    Args:
        verb: Name of a verb; "train", "label", "curate" and "restructure" take more than their flags.

    Example:
        >>> format_options("restructure").splitlines()[0]
        'RestructureConfig'
    """
    if not takes_options(verb):
        return f"`mmprm {verb}` takes no key besides its flags, which `mmprm {verb} --help` lists."
    if verb == "train":
        own = [f"  {name} ({default}): {text}" for name, (default, text) in training_options().items()]
        known = (*training_options(), "output_dir", "seed")  # the two are flags with defaults of their own
        others = [f"  {name} ({default})" for name, default in trainer_options().items() if name not in known]
        groups = ["\n".join(["PRMConfig", *own]), *map(_lines_of, _classes_of(verb))]
        return "\n\n".join([*groups, "\n".join(["TrainingArguments of transformers, all of them", *others])])
    return "\n\n".join(map(_lines_of, _classes_of(verb)))


def takes_options(verb: str) -> bool:
    """Return whether a verb's configuration takes more than its flags."""
    return verb in ("train", "label", "curate", "restructure")


def check_option_names(verb: str, names: Iterable[str]) -> None:
    """Raise for the first name that no configuration of a verb has; the stage itself knows which search has which.

    Raises:
        UnknownNameError: naming it.
    """
    known = {field.name for config in _classes_of(verb) for field in dataclasses.fields(config)}
    if verb == "train":
        known |= {*training_options(), *trainer_options()} - {"output_dir"}  # --output says it
    for name in names:
        if name not in known:
            raise UnknownNameError("option", name, sorted(known))


def _classes_of(verb: str) -> list[type]:
    if verb == "train":
        return [LoraOptions, CardOptions]
    if verb == "label":
        from ..engines import SamplingConfig
        from ..labelling import SEARCHES, LabelRowsConfig

        return [*dict.fromkeys(config for _, config in SEARCHES.values()), SamplingConfig, LabelRowsConfig]
    if verb == "curate":
        from ..curation import CurationConfig
        from .curate_stage import DatasetCardConfig

        return [CurationConfig, DatasetCardConfig]
    if verb == "restructure":
        from ..restructuring import CheckConfig, RestructureConfig

        return [RestructureConfig, CheckConfig]
    return []


def _lines_of(config: type) -> str:
    """The fields of a dataclass, each with its default and what the docstring says of it."""
    meanings = _meanings(config)
    lines = [f"  {field.name} ({field.default!r}): {meanings[field.name]}" for field in dataclasses.fields(config)]
    return "\n".join([config.__name__, *lines])


def _meanings(config: type) -> dict[str, str]:
    """What the section Args of a dataclass says of each field; one of a parent where its own says nothing."""
    meanings: dict[str, str] = {}
    for cls in reversed(config.__mro__[:-1]):
        section = re.search(r"^Args:\n((?:    .*\n|\n)+)", inspect.cleandoc(cls.__doc__ or "") + "\n", re.MULTILINE)
        entries = re.findall(r"^    (\w[\w, ]*): (.*(?:\n     .*)*)", section[1] if section else "", re.MULTILINE)
        for names, text in entries:
            meanings |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return meanings
