"""Options of a restructuring run: how the model is asked, what is written, and the thresholds of the checks.

Standard library only.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ..errors import COUNT_RULE, MAX_COUNT, MAX_NEW_TOKENS, TOKENS_RULE, check_values, is_count
from ..steps import TAGGED, read_step_format


@dataclasses.dataclass(frozen=True)
class RestructureConfig:
    """How the model is asked, and how its steps are written.

    Args:
        max_attempts: The most replies per row: a greedy one, then sampled ones, each after a rejection. At least 1.
        temperature: Sampling temperature of the attempts after the first. Above 0.
        max_new_tokens: The most tokens of a reply. At least 1.
        step_format: The step format of the corpus, by name or as a dict; the model is asked for tags in any case.

    Raises:
        UnknownNameError: for an unknown step format.
        ValueError: if a value is out of its range.
    """

    max_attempts: int = 2
    temperature: float = 0.7
    max_new_tokens: int = 4096
    step_format: Any = TAGGED.name

    def __post_init__(self) -> None:
        read_step_format(self.step_format)
        check_values(
            self,
            max_attempts=(is_count(self.max_attempts, MAX_COUNT), COUNT_RULE),
            temperature=(self.temperature > 0, "above 0 (a second greedy reply equals the first)"),
            max_new_tokens=(is_count(self.max_new_tokens, MAX_NEW_TOKENS), TOKENS_RULE),
        )


@dataclasses.dataclass(frozen=True)
class CheckConfig:
    """Thresholds of the checks.

    Args:
        min_steps: The fewest steps, at least 1. With one step a search has nothing to bisect and a PRM has one label;
            1 keeps one-line solutions too.
        min_numbers_kept: The least share of the original's distinct numbers that must be kept, in [0, 1]. Below 1
            because leaving out an aside ("there are 3 ways, here is one") loses nothing; 0.8 lets one number in five
            go, and none of fewer than five.
        min_length_ratio: The least length, in characters without whitespace, as a multiple of the original's; in
            [0, 1]. Half: headings and filler of the original may go, its reasoning may not.
        max_length_ratio: The greatest length, likewise, at least 1. Twice: formulas may be written out; more is a new
            solution or a loop.
        length_slack: Characters on top of the greatest length, for originals of one line ("8"). At least 0.

    Raises:
        ValueError: if a value is out of its range.
    """

    min_steps: int = 2
    min_numbers_kept: float = 0.8
    min_length_ratio: float = 0.5
    max_length_ratio: float = 2.0
    length_slack: int = 100

    def __post_init__(self) -> None:
        check_values(
            self,
            min_steps=(self.min_steps >= 1, "at least 1"),
            min_numbers_kept=(0 <= self.min_numbers_kept <= 1, "in [0, 1]"),
            min_length_ratio=(0 <= self.min_length_ratio <= 1, "in [0, 1]"),
            max_length_ratio=(self.max_length_ratio >= 1, "at least 1"),
            length_slack=(self.length_slack >= 0, "at least 0"),
        )
