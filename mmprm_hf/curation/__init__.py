"""From raw problems of any source to a dataset in MM-K12's schema: every rule keeps or drops with a named reason.

`adapters` read raw rows, `repairs` mends what can be mended without guessing, `criteria` judges one problem at a time,
`duplicates` compares problems with one another, `curate` joins them and counts.
"""

from .config import CurationConfig, SourceConfig
from .curate import Curation, curate

__all__ = ["Curation", "CurationConfig", "SourceConfig", "curate"]
