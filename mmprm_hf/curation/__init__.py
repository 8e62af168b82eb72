"""From raw problems of any source to a dataset in MM-K12's schema: every rule keeps or drops with a named reason.

`adapters` read raw rows, `repairs` mends what can be mended without guessing, `criteria` judges one problem at a time,
`duplicates` compares problems with one another, `run` joins them and counts.
"""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "config": ["CurationConfig", "SourceConfig"],
        "repairs": ["REPAIRS"],
        "run": ["SPLITS", "Curation", "curate"],
        "text_only": ["solved_without_figure"],
    },
)
