"""The options of a training, read from source: importing transformers takes seconds, and a misspelt key should not.

Imports no torch and no transformers.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from pathlib import Path


@functools.cache
def training_options() -> dict[str, tuple[str, str]]:
    """Return the default and the meaning of every field that `PRMConfig` adds to `TrainingArguments`, as texts.

    Example:
        >>> training_options()["on_bad_row"][0]
        "'raise'"
    """
    fields = _fields(Path(__file__).with_name("prm_config.py"), "PRMConfig")
    return {name: (ast.unparse(call.args[0]), ast.literal_eval(call.args[1])) for name, call in fields.items()}


@functools.cache
def trainer_options() -> tuple[str, ...]:
    """Return the names of the fields of transformers' `TrainingArguments`."""
    folder = Path(importlib.util.find_spec("transformers").submodule_search_locations[0])  # of the package alone
    return tuple(_fields(folder / "training_args.py", "TrainingArguments"))


def _fields(path: Path, class_name: str) -> dict[str, ast.expr | None]:
    """The fields of a dataclass in a source file, and what they are set to."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name)
    return {node.target.id: node.value for node in body if isinstance(node, ast.AnnAssign)}
