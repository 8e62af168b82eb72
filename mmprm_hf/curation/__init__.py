"""From raw problems of any source to a dataset in MM-K12's schema: every row is kept, or dropped under a named reason.

`adapters` read raw rows, `repairs` corrects what can be corrected without guessing, `criteria` judges one problem at a
time, `duplicates` compares problems with one another, `splits` divides them, `run` joins all, `ledger` counts.
"""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "config": ["SPLITS", "CurationConfig", "SourceConfig"],
        "repairs": ["REPAIRS"],
        "run": ["curate"],
        "text_only": ["solved_without_figure"],
    },
)
