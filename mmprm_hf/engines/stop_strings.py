"""Where a rollout ends before its end token: stop strings, found in growing token sequences. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class StopStrings:
    """Finds stop strings in growing token sequences by decoding their last few tokens.

    A token holds at least one byte of text, so a stop string of b bytes lies within the last b tokens once its last one
    is there (a few more are decoded: a cut character or a space at the edge may read differently). Its position is then
    found in the whole text. Most tokens cannot end a stop string and cost one lookup in a dict.

    Args:
        tokenizer: A copy of the policy's tokenizer that no thread but the decoding one uses: a call of a tokenizer sets
            its padding for the time of the call.
        stop_strings: Texts at which a rollout ends; maybe none.
        is_end: Whether a stop string behind this text is one; None for always. See `StepFormat.is_step_end`.
    """

    def __init__(
        self, tokenizer: Any, stop_strings: tuple[str, ...], is_end: Callable[[str, str], bool] | None = None
    ) -> None:
        self.tokenizer, self.stop_strings, self._is_end = tokenizer, stop_strings, is_end
        self.num_tail_tokens = max((len(stop.encode()) for stop in stop_strings), default=0) + 4
        self._can_end: dict[int, bool] = {}

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of tokens, tags and control tokens included."""
        return self.tokenizer.decode(token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def cut(self, token_ids: Sequence[int]) -> tuple[str, str] | None:
        """Return the text before the first stop string, and that string; None if none ends with the last token."""
        if not self.stop_strings or not self._may_end_with(token_ids[-1]):
            return None
        tail = self.decode(token_ids[-self.num_tail_tokens :])
        if not any(stop in tail for stop in self.stop_strings):
            return None
        text = self.decode(token_ids)
        for start, stop in sorted(self._places(text)):
            if self._is_end is None or self._is_end(text[:start], stop):
                return text[:start], stop
        return None

    def _places(self, text: str) -> list[tuple[int, str]]:
        """Where every stop string stands."""
        places: list[tuple[int, str]] = []
        for stop in self.stop_strings:
            start = text.find(stop)
            while start >= 0:
                places.append((start, stop))
                start = text.find(stop, start + 1)
        return places

    def _may_end_with(self, token_id: int) -> bool:
        """Whether the last character of a stop string is in the token (part of a character decodes to U+FFFD)."""
        if token_id not in self._can_end:
            text = self.decode([token_id])
            # Decoders may drop or add a space at the edge of a text.
            ends = {stop[-1] for stop in self.stop_strings}
            self._can_end[token_id] = "\ufffd" in text or " " in ends or any(end in text for end in ends)
        return self._can_end[token_id]
