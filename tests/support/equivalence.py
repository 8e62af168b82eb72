"""What the conformance tests measured; `conftest.py` prints it as a table at the end of a run."""

import collections

EQUIVALENCE: dict[str, dict[str, float | None]] = collections.defaultdict(dict)
"""Family -> way of scoring -> largest difference from every solution by itself, None if refused."""
