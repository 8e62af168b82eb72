"""Public names of a room, each loaded from its module when it is first used.

So importing a room stays cheap: a stage that only reads files never waits for torch. Standard library only.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def attach(
    package: str, names_by_module: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` for the ``__init__.py`` of a package.

    Args:
        package: The package's ``__name__``.
        names_by_module: Public names by the module that defines them, relative to the package. No name may be that of a
            module, for importing the module would replace it.

    Example:
        ``__getattr__, __dir__, __all__ = attach(__name__, {"verifier": ["RuleVerifier"]})``
    """
    module_of = {name: module for module, names in names_by_module.items() for name in names}
    public = sorted(module_of)

    def load(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(public)}")
        value = getattr(importlib.import_module(f".{module_of[name]}", package), name)
        setattr(sys.modules[package], name, value)
        return value

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *public})

    return load, list_names, public
