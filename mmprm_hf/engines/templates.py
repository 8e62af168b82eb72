"""A problem as a policy's chat template shows it; a plain prompt for base models, which have no template."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ..errors import CheckpointError

logger = logging.getLogger(__name__)

_PLAIN_QUESTION, _PLAIN_SOLUTION = "Question: ", "\n\nSolution:\n"
_PROBE = "Answer in verse."


def tokenizer_of(processor: Any) -> Any:
    """Return the tokenizer of a processor; a tokenizer is returned as it is."""
    return getattr(processor, "tokenizer", processor)


class ChatTemplate:
    """Writes the text up to the policy's first own token, without any prefix.

    An instruction stands behind the question, where every template and every server shows it. A system prompt that the
    template has no turn for stands before the question.

    Args:
        processor: The policy's processor or tokenizer.
        system_prompt: Text of a system turn; None for none.
        options: More variables of the template, such as ``{"enable_thinking": False}``.

    Attributes:
        stop_strings: Where a solution ends if the policy goes on with a problem of its own making.
    """

    def __init__(self, processor: Any, system_prompt: str | None = None, options: dict[str, Any] | None = None) -> None:
        self._processor, self._system_prompt, self._options = processor, system_prompt, dict(options or {})
        self._is_text_only = processor is tokenizer_of(processor)
        templates = (getattr(processor, "chat_template", None), getattr(tokenizer_of(processor), "chat_template", None))
        self._is_plain = not any(templates)
        self._has_system_turn: bool | None = None
        self.stop_strings: tuple[str, ...] = ("\n" + _PLAIN_QUESTION.strip(),) if self._is_plain else ()
        if self._is_plain:
            logger.warning(
                'The policy has no chat template, as base models do: a problem is shown as "%s...", and what it writes '
                "behind is read as the solution.",
                _PLAIN_QUESTION,
            )

    def render(self, parts: Sequence[str | int], instruction: str | None = None) -> str:
        """Return the text of a question, given in its parts as `models.split_question` returns them.

        Raises:
            CheckpointError: if the template fails, or figures need one and there is none.
            ValueError: if the template cannot keep the places of the figures.
        """
        parts, system = list(parts), self._system_prompt
        if instruction is not None:
            parts.append(f"\n\n{instruction}")
        if system is not None and not self._shows_system_turns():
            first = next((index for index, part in enumerate(parts) if isinstance(part, str)), len(parts))
            parts.insert(first, f"{system}\n\n")
            system = None
        parts = _joined(parts)
        return self._plain(parts) if self._is_plain else self._fill(self._turns(parts, system))

    def _turns(self, parts: Sequence[str | int], system: str | None) -> list[dict[str, Any]]:
        turns = [] if system is None else [{"role": "system", "content": self._content([system])}]
        return [*turns, {"role": "user", "content": self._content(parts)}]

    def _content(self, parts: Sequence[str | int]) -> Any:
        """Parts for a processor; one text for a tokenizer, whose templates join texts."""
        if self._is_text_only:
            return "".join(map(str, parts))
        from ..models import chat_content

        return chat_content(self._processor, parts)

    def _fill(self, turns: list[dict[str, Any]]) -> str:
        options = {"tokenize": False, "add_generation_prompt": True, **self._options}
        try:
            return self._processor.apply_chat_template(turns, **options)
        except Exception as error:  # noqa: BLE001 (a template is a program of the checkpoint and raises anything)
            raise CheckpointError(
                f"The policy's chat template fails ({type(error).__name__}: {error}). Correct its chat_template.jinja."
            ) from error

    def _shows_system_turns(self) -> bool:
        """Whether the template writes a system turn; some refuse one, some leave it out in silence."""
        if self._has_system_turn is None:
            if self._is_plain:
                self._has_system_turn = False
            else:
                try:
                    self._has_system_turn = _PROBE in self._fill(self._turns(["1 + 1?"], _PROBE))
                except CheckpointError:
                    self._has_system_turn = False
        return self._has_system_turn

    def _plain(self, parts: Sequence[str | int]) -> str:
        if any(isinstance(part, int) for part in parts):
            raise CheckpointError(
                "The policy has no chat template, which says where a figure goes. Give it a chat_template.jinja, or "
                "leave figures out."
            )
        return f"{_PLAIN_QUESTION}{''.join(parts)}{_PLAIN_SOLUTION}"


def _joined(parts: Sequence[str | int]) -> list[str | int]:
    """The parts with texts that follow each other made one."""
    joined: list[str | int] = []
    for part in parts:
        if joined and isinstance(part, str) and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return joined
