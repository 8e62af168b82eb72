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
def trainer_options() -> dict[str, str]:
    """Return the default of every field of transformers' `TrainingArguments`, as a text.

    Example:
        >>> trainer_options()["num_train_epochs"]
        '3.0'
    """
    folder = Path(importlib.util.find_spec("transformers").submodule_search_locations[0])  # of the package alone
    fields = _fields(folder / "training_args.py", "TrainingArguments")
    return {name: "none" if value is None else _default(value) for name, value in fields.items()}


def _default(value: ast.expr) -> str:
    """The default of a field: what it is set to, the keyword `default`, or an empty one of what its factory makes."""
    if not isinstance(value, ast.Call):
        return ast.unparse(value)
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in value.keywords}
    if "default" in options:
        return "chosen by transformers" if options["default"] == "default_optim" else options["default"]
    return f"{options['default_factory']}()" if "default_factory" in options else "none"


def _fields(path: Path, class_name: str) -> dict[str, ast.expr | None]:
    """The fields of a dataclass in a source file, and what they are set to."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name)
    return {node.target.id: node.value for node in body if isinstance(node, ast.AnnAssign)}
