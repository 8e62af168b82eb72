"""How similar texts are, and which ones are worth comparing: MinHash first, then exact similarity.

Texts are sets of tokens with weights 1 + ln(N / texts that have the token): the words of every question count little,
names and numbers much. NumPy, SciPy and the standard library only.
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
from scipy import sparse

Text = tuple[str, ...]
_NUM_BANDS, _ROWS_PER_BAND = 128, 3
"""Texts of similarity s share a bucket with probability 1 - (1 - s^3)^128: 0.90 at 0.26, 0.996 at 0.35."""
_HASHES = np.random.default_rng(0).integers(1, 2**63, size=(2, _NUM_BANDS * _ROWS_PER_BAND), dtype=np.uint64)
_PAIRS_AT_A_TIME = 100_000
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
    """Weighted Jaccard similarity of texts; weights are counted from the texts of all problems.

    Args:
        texts: The token tuples of all problems, repeats included.
    """

    def __init__(self, texts: Sequence[Text]) -> None:
        counts = collections.Counter(token for text in texts for token in set(text))
        self._weights = {token: 1.0 + math.log(len(texts) / count) for token, count in counts.items()}

    def similar_pairs(self, groups: Mapping[Text, Hashable], least: float) -> Iterator[tuple[Text, Text, float]]:
        """Yield probably all pairs of texts of this similarity that are not in one group, the same in every process.

        Args:
            groups: The texts, each with its group.
            least: Least similarity, in [0, 1].

        Yields:
            The two texts, the earlier one first, and their similarity; each pair once.
        """
        texts = list(groups)
        pairs = self._likely_pairs(texts, list(groups.values()))
        columns = {token: column for column, token in enumerate(dict.fromkeys(itertools.chain.from_iterable(texts)))}
        sets = [sorted({columns[token] for token in text}) for text in texts]
        ends = np.cumsum([0, *map(len, sets)])
        flat = np.fromiter(itertools.chain.from_iterable(sets), dtype=np.int64, count=ends[-1])
        holds = sparse.csr_array((np.ones(len(flat)), flat, ends), shape=(len(texts), len(columns)))
        weighted = holds * np.array([self._weights[token] for token in columns])[None, :]
        weighted, totals = weighted.tocsr(), weighted.sum(axis=1)
        for start in range(0, len(pairs), _PAIRS_AT_A_TIME):
            firsts, seconds = np.divmod(pairs[start : start + _PAIRS_AT_A_TIME], len(texts))
            shared = (weighted[firsts] * holds[seconds]).sum(axis=1)
            similarities = shared / (totals[firsts] + totals[seconds] - shared)
            for index in np.flatnonzero(similarities >= least):
                yield texts[firsts[index]], texts[seconds[index]], float(similarities[index])

    def _likely_pairs(self, texts: Sequence[Text], groups: Sequence[Hashable]) -> np.ndarray:
        """Pairs that share a bucket and are not in one group, as ``first * len(texts) + second``, ascending."""
        if not texts:
            return np.zeros(0, dtype=np.int64)
        number_of = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        numbers = np.array([number_of[group] for group in groups], dtype=np.int64)
        signatures = np.array([self._signature(text) for text in texts]).reshape(-1, _NUM_BANDS, _ROWS_PER_BAND)
        pairs = []
        num_full = 0
        for band in signatures.swapaxes(0, 1):
            order = np.lexsort((numbers, *band.T))  # bucket by bucket, and inside a bucket group by group
            is_new_bucket = (band[order[1:]] != band[order[:-1]]).any(axis=1)
            bucket_ends = _ends_of_runs(is_new_bucket)
            group_ends = _ends_of_runs(is_new_bucket | (np.diff(numbers[order]) > 0))
            num_partners = bucket_ends - group_ends  # those of later groups
            starts = np.flatnonzero(np.append(True, is_new_bucket))
            is_full = np.add.reduceat(num_partners, starts) > _MAX_PAIRS_IN_BUCKET
            num_full += int(is_full.sum())
            num_partners[np.repeat(is_full, np.diff(starts, append=len(order)))] = 0
            first_pairs = np.cumsum(num_partners) - num_partners
            partners = np.arange(num_partners.sum()) + np.repeat(group_ends - first_pairs, num_partners)
            both = order[np.repeat(np.arange(len(order)), num_partners)], order[partners]
            pairs.append(np.minimum(*both) * len(texts) + np.maximum(*both))
        if num_full:
            logger.warning("%d buckets are too full to compare their texts; near duplicates may be missed.", num_full)
        ascending = np.sort(np.concatenate(pairs))  # np.unique hashes, which takes four times as long here
        return ascending[np.diff(ascending, prepend=-1) > 0]

    def _signature(self, text: Text) -> np.ndarray:
        """MinHash signature of a weighted set: a token of weight w is in it w times."""
        keys = [
            zlib.crc32(f"{token} {copy}".encode()) for token in set(text) for copy in range(round(self._weights[token]))
        ]
        values = np.asarray(keys, dtype=np.uint64)[:, None]
        with np.errstate(over="ignore"):  # multiply-shift hashing (Dietzfelbinger 1997): arithmetic modulo 2^64
            hashed = (values * (_HASHES[0] | np.uint64(1)) + _HASHES[1]) >> np.uint64(32)
        return hashed.min(axis=0).astype(np.uint32)


def _ends_of_runs(is_new: np.ndarray) -> np.ndarray:
    """For each entry the end of its run, given whether each entry but the first begins one."""
    starts = np.flatnonzero(np.append(True, is_new))
    sizes = np.diff(starts, append=len(is_new) + 1)
    return np.repeat(starts + sizes, sizes)
