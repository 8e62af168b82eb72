"""The progress bar of a labelling run: problems done, rollouts and tokens per second, time left.

Problems that an earlier session finished move the bar, but not the rates.
"""

from __future__ import annotations

import time

from ..progress import progress_bar
from .ledger import Session

_REFRESH_SECONDS = 0.5


class Progress:
    """A tqdm bar over problems.

    Args:
        session: Counts what is new.
        num_problems: All problems of the run, None if their number is not known.
        is_shown: Show the bar.
    """

    def __init__(self, session: Session, num_problems: int | None, is_shown: bool) -> None:
        self.session, self._num_skipped, self._refreshed = session, 0, 0.0
        options = {"unit": "problem", "is_mean_rate": True, "is_shown": is_shown}
        self._bar = progress_bar(total=num_problems, desc="label", **options)

    def close(self) -> None:
        """Show the final numbers and leave the bar on the screen."""
        self._show()
        self._bar.close()

    def skip(self) -> None:
        """Count a problem that was finished before this session."""
        self._num_skipped += 1
        self._bar.initial = self._num_skipped
        self._bar.n += 1
        self.refresh()

    def advance(self) -> None:
        """Count a problem that ended in a tree or a failure."""
        self._bar.update()

    def refresh(self) -> None:
        """Show the rates, at most twice a second."""
        if time.monotonic() - self._refreshed >= _REFRESH_SECONDS:
            self._show()

    def _show(self) -> None:
        self._refreshed, seconds = time.monotonic(), max(self.session.seconds, 1e-9)
        rollouts, tokens = self.session.num_rollouts / seconds, self.session.tokens_out / seconds
        self._bar.set_postfix_str(f"{rollouts:.0f} rollouts/s, {tokens:.0f} tokens/s")
