"""How similar texts are, and which ones are worth comparing: MinHash first, then exact similarity.

Texts are sets of tokens with weights 1 + ln(N / texts that have the token): the words of every question count little,
names and numbers much. NumPy and the standard library only.
"""

from __future__ import annotations

import collections
import itertools
import logging
import math
import re
import unicodedata
import zlib
from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np

Text = tuple[str, ...]
_NUM_BANDS, _ROWS_PER_BAND = 128, 3
"""Texts of similarity s share a bucket with probability 1 - (1 - s^3)^128: 0.90 at 0.26, 0.996 at 0.35."""
_HASHES = np.random.default_rng(0).integers(1, 2**63, size=(2, _NUM_BANDS * _ROWS_PER_BAND), dtype=np.uint64)
_MAX_PAIRS_IN_BUCKET = 50_000  # a fuller bucket holds what many texts have in common; similar ones share others, too

_COMMAND = re.compile(
    r"\\(?:mathrm|text|textbf|textit|mathbf|mathit|operatorname|left|right|displaystyle|dfrac|tfrac)\b"
)
_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_TOKEN = re.compile(rf"\d+(?:\.\d+)?|{_IDEOGRAPH.pattern}|(?:(?!{_IDEOGRAPH.pattern})[^\W\d_])+")
FIGURE_MARK = re.compile(r"<image\s*\d*>|\(image \d+\)")
logger = logging.getLogger(__name__)


def tokens_of(text: str) -> Text:
    """Return words and numbers of a text, without case, accents, markup and marks of figures; Chinese in pairs.

    Example:
        >>> tokens_of("What is $\\\\mathrm{AB}$, if 如图 AC = 1.5?")
        ('what', 'is', 'ab', 'if', '如图', 'ac', '1.5')
    """
    text = FIGURE_MARK.sub(" ", unicodedata.normalize("NFKD", text).casefold())
    text = "".join(character for character in text if not unicodedata.category(character).startswith("M"))
    single = _TOKEN.findall(_COMMAND.sub(" ", text))
    tokens: list[str] = []
    for before, token, after in zip(["", *single], single, [*single[1:], ""], strict=False):
        if _IDEOGRAPH.match(token) and _IDEOGRAPH.match(after):
            tokens.append(token + after)
        elif not (_IDEOGRAPH.match(token) and _IDEOGRAPH.match(before)):
            tokens.append(token)
    return tuple(tokens)


class TextSimilarity:
    """Weighted Jaccard similarity of texts; weights are counted from the texts of all problems."""

    def __init__(self, texts: Sequence[Text]) -> None:
        counts = collections.Counter(token for text in texts for token in set(text))
        self._weights = {token: 1.0 + math.log(len(texts) / count) for token, count in counts.items()}
        self._sets = {text: frozenset(text) for text in texts}
        self._totals = {text: sum(map(self._weights.get, tokens)) for text, tokens in self._sets.items()}

    def __call__(self, first: Text, second: Text) -> float:
        """Return the similarity of two of the texts, in [0, 1]."""
        shared = sum(self._weights[token] for token in self._sets[first] & self._sets[second])
        return shared / (self._totals[first] + self._totals[second] - shared)

    def likely_pairs(self, groups: Mapping[Text, Hashable]) -> Iterator[tuple[Text, Text]]:
        """Yield pairs of texts that are probably similar and not in one group, each once, the same in every process."""
        texts = list(groups)
        signatures = np.array([self._signature(text) for text in texts]).reshape(-1, _NUM_BANDS, _ROWS_PER_BAND)
        pairs: set[int] = set()  # of indices, first * len(texts) + second
        num_full = 0
        for band in range(_NUM_BANDS):
            buckets: dict[bytes, dict[Hashable, list[int]]] = {}
            for index, row in enumerate(signatures[:, band]):
                buckets.setdefault(row.tobytes(), {}).setdefault(groups[texts[index]], []).append(index)
            for bucket in buckets.values():
                sizes = [len(indices) for indices in bucket.values()]
                if sum(sizes) ** 2 - sum(size**2 for size in sizes) > 2 * _MAX_PAIRS_IN_BUCKET:
                    num_full += 1
                    continue
                for one_group, other_group in itertools.combinations(bucket.values(), 2):
                    for pair in itertools.product(one_group, other_group):
                        pairs.add(min(pair) * len(texts) + max(pair))
        if num_full:
            logger.warning("%d buckets are too full to compare their texts; near duplicates may be missed.", num_full)
        return ((texts[pair // len(texts)], texts[pair % len(texts)]) for pair in pairs)

    def _signature(self, text: Text) -> np.ndarray:
        """MinHash signature of a weighted set: a token of weight w is in it w times."""
        keys = [
            zlib.crc32(f"{token} {copy}".encode()) for token in set(text) for copy in range(round(self._weights[token]))
        ]
        values = np.asarray(keys, dtype=np.uint64)[:, None]
        with np.errstate(over="ignore"):  # multiply-shift hashing (Dietzfelbinger 1997): arithmetic modulo 2^64
            hashed = (values * (_HASHES[0] | np.uint64(1)) + _HASHES[1]) >> np.uint64(32)
        return hashed.min(axis=0).astype(np.uint32)
