"""One wording for options that are out of range."""

from __future__ import annotations

from typing import Any


def check_values(config: Any, **rules: tuple[bool, str]) -> None:
    """Raise a ValueError that names the first option whose value breaks its rule.

    Args:
        config: The dataclass that holds the options.
        rules: By option, whether its value is allowed, and the rule in words, such as "at least 1".
    """
    for name, (is_allowed, rule) in rules.items():
        if not is_allowed:
            raise ValueError(f"Found {name}={getattr(config, name)!r} in {type(config).__name__}; it must be {rule}.")
