"""Which problems are one problem: by text (MinHash, then exact similarity), answer, and perceptual hash of figures.

Three kinds of pairs. `exact`: same normalised text, answer and figure. `near`: the same answer and nearly the same
text, or a less similar text and a similar figure (another translation, another scan). `variant`: nearly the same text,
another answer or figure (other numbers): two problems, but a model that trained on one is not tested fairly on the
other. NumPy and the standard library only.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
import re
import string
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from ..answer_cleaning import clean
from ..answers import answers_equivalent
from .config import CurationConfig
from .figures import Figure, look_distance
from .records import RawProblem

NUM_BANDS, ROWS_PER_BAND = 64, 2
"""A pair of similarity s becomes a candidate with probability 1 - (1 - s^2)^64: 0.93 at 0.2, 0.998 at 0.3."""
_MAX_BUCKET = 200  # larger ones hold what a template's texts share; the similar pairs in them meet in other bands

Kind = Literal["exact", "near", "variant"]

_COMMAND = re.compile(
    r"\\(?:mathrm|text|textbf|textit|mathbf|mathit|operatorname|left|right|displaystyle|dfrac|tfrac)\b"
)
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[a-z]+|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\d_]")
_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_PLACE = re.compile(r"<image\s*\d*>|\(image \d+\)")


def tokens_of(text: str) -> tuple[str, ...]:
    """Words and numbers of a text, without case, markup and places of figures; Chinese in pairs of characters.

    Example:
        >>> tokens_of("What is $\\\\mathrm{AB}$, if 如图 AC = 1.5?")
        ('what', 'is', 'ab', 'if', '如图', 'ac', '1.5')
    """
    text = _PLACE.sub(" ", unicodedata.normalize("NFKC", text).casefold())
    found = _TOKEN.findall(_COMMAND.sub(" ", text))
    joined: list[str] = []
    for before, token, after in zip([""] + found, found, [*found[1:], ""], strict=False):
        if not _IDEOGRAPH.match(token):
            joined.append(token)
        elif _IDEOGRAPH.match(after):
            joined.append(token + after)
        elif not _IDEOGRAPH.match(before):
            joined.append(token)
    return tuple(joined)


@dataclasses.dataclass(frozen=True)
class Sketch:
    """What is kept of a problem for comparing it with others.

    Args:
        tokens: Of the question, in order.
        answer: Its value: the text of the right option, or the answer.
        is_letter: The value is a letter only, because the choices are drawn: one in five agree by chance.
        figures: Facts of its figures.
    """

    tokens: tuple[str, ...]
    answer: str
    is_letter: bool
    figures: tuple[Figure, ...]

    @property
    def numbers(self) -> frozenset[str]:
        """Numbers in the question."""
        return frozenset(token for token in self.tokens if token[0].isdigit())


def sketch_of(problem: RawProblem, figures: Sequence[Figure]) -> Sketch:
    """The sketch of a repaired problem."""
    letters = string.ascii_uppercase[: len(problem.options)]
    answer = problem.answer
    if problem.options and answer in letters:
        answer = problem.options[letters.index(answer)]
    is_letter = bool(problem.options) and (answer in letters or _PLACE.fullmatch(answer) is not None)
    return Sketch(tokens_of(problem.question), clean(answer), is_letter, tuple(figures))


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two problems that belong together.

    Args:
        first, second: Their indices, first < second.
        kind: What they are to each other.
        similarity: Weighted Jaccard similarity of their texts, in [0, 1].
        distance: `figures.look_distance`.
    """

    first: int
    second: int
    kind: Kind
    similarity: float
    distance: float | None


def find_pairs(sketches: Sequence[Sketch], config: CurationConfig) -> list[Pair]:
    """All pairs that belong together, ordered by indices.

    Texts are compared as sets of tokens with weights 1 + ln(N / texts that have it): the words of every question count
    little, names and numbers much. Pairs of the very same text are all found; others with the probability that MinHash
    gives them (see `NUM_BANDS`), the same ones in every run.
    """
    texts: dict[tuple[str, ...], list[int]] = collections.defaultdict(list)
    for index, sketch in enumerate(sketches):
        texts[sketch.tokens].append(index)
    num_alike = collections.Counter(_skeleton(sketch.tokens) for sketch in sketches)
    templates = {text for text in texts if num_alike[_skeleton(text)] > config.max_same_text}
    weights = _weights(sketches)
    token_sets = [frozenset(sketch.tokens) for sketch in sketches]
    pairs = []
    for first, second in sorted(set(_candidates(sketches, texts, templates, weights))):
        a, b = sketches[first], sketches[second]
        similarity = _similarity(token_sets[first], token_sets[second], weights)
        is_template = a.tokens in templates or b.tokens in templates
        if kind := _kind(a, b, similarity, is_template, config):
            pairs.append(Pair(first, second, kind, round(similarity, 4), look_distance(a.figures, b.figures)))
    return pairs


def _skeleton(tokens: Sequence[str]) -> tuple[str, ...]:
    """A text without its numbers and single letters: "how much more is C than A", "... B than D"."""
    return tuple("#" if token[0].isdigit() or (len(token) == 1 and token.isascii()) else token for token in tokens)


def _kind(a: Sketch, b: Sketch, similarity: float, is_template: bool, config: CurationConfig) -> Kind | None:
    is_same_figure = sorted(figure.pixels for figure in a.figures) == sorted(figure.pixels for figure in b.figures)
    if is_template:  # all that is asked stands in the figure
        return "exact" if a.tokens == b.tokens and is_same_figure and _same_answer(a, b) else None
    least = min(config.near_similarity_with_figure, config.near_similarity, config.variant_similarity)
    if similarity < least:
        return None
    distance = look_distance(a.figures, b.figures)
    is_alike = distance is not None and distance <= config.max_figure_distance
    is_same_text = a.tokens == b.tokens
    if (similarity >= config.near_similarity or (is_alike and similarity >= config.near_similarity_with_figure)) and (
        _same_answer(a, b)
    ):
        if is_same_text and is_same_figure:
            return "exact"
        is_sure = similarity >= config.near_similarity if a.is_letter else True  # letters agree by chance, too
        is_sure &= is_alike or not (is_same_text or a.is_letter)
        if is_sure and _same_numbers(a, b):
            return "near"
    is_twin = distance is not None and distance <= config.max_figure_distance / 2
    is_variant = similarity >= config.variant_similarity or (is_twin and similarity >= config.near_similarity)
    return "variant" if is_variant else None


def _same_answer(a: Sketch, b: Sketch) -> bool:
    return a.is_letter == b.is_letter and answers_equivalent(a.answer, b.answer)


def _same_numbers(a: Sketch, b: Sketch) -> bool:
    """Whether two questions give the same numbers, as far as both give any: a translation may write one as a word.

    Where the answers are mere letters, the numbers must be the very same.
    """
    few, many = sorted((a.numbers, b.numbers), key=len)
    return not few or (few == many if a.is_letter else 2 * len(few & many) >= len(few))


def _weights(sketches: Sequence[Sketch]) -> dict[str, float]:
    """1 + ln(N / number of texts) of every token."""
    counts = collections.Counter(token for sketch in sketches for token in set(sketch.tokens))
    return {token: 1.0 + math.log(len(sketches) / count) for token, count in counts.items()}


def _similarity(a: frozenset[str], b: frozenset[str], weights: dict[str, float]) -> float:
    """Weighted Jaccard similarity of two sets; 0 if both are empty."""
    shared = sum(weights[token] for token in a & b)
    total = shared + sum(weights[token] for token in a ^ b)
    return shared / total if total else 0.0


def _candidates(
    sketches: Sequence[Sketch],
    texts: dict[tuple[str, ...], list[int]],
    templates: set[tuple[str, ...]],
    weights: dict[str, float],
) -> Iterator[tuple[int, int]]:
    """Pairs worth a look, some twice: of one text (of a template those with the same pixels), and by MinHash."""
    for text, members in texts.items():
        groups = [members]
        if text in templates:
            by_pixels = collections.defaultdict(list)
            for index in members:
                by_pixels[tuple(sorted(figure.pixels for figure in sketches[index].figures))].append(index)
            groups = list(by_pixels.values())
        for group in groups:
            yield from itertools.combinations(group, 2)
    others = [index for text, members in texts.items() if text and text not in templates for index in members]
    signatures = np.stack([_signature(sketches[index].tokens, weights) for index in others]) if others else np.empty(0)
    for band in range(NUM_BANDS if others else 0):
        buckets = collections.defaultdict(list)
        for index, row in zip(others, signatures[:, band * ROWS_PER_BAND : (band + 1) * ROWS_PER_BAND], strict=True):
            buckets[row.tobytes()].append(index)
        for bucket in buckets.values():
            if 1 < len(bucket) <= _MAX_BUCKET:
                yield from itertools.combinations(sorted(bucket), 2)


_NUM_HASHES = NUM_BANDS * ROWS_PER_BAND
_HASHES = np.random.default_rng(0).integers(1, 2**63, size=(2, _NUM_HASHES), dtype=np.uint64)


def _signature(tokens: Sequence[str], weights: dict[str, float]) -> np.ndarray:
    """MinHash signature of a weighted set, (NUM_BANDS * ROWS_PER_BAND,): a token of weight w stands in it w times."""
    keys = [zlib.crc32(f"{token} {copy}".encode()) for token in set(tokens) for copy in range(round(weights[token]))]
    values = np.asarray(keys, dtype=np.uint64)[:, None]
    with np.errstate(over="ignore"):  # multiply-shift hashing (Dietzfelbinger 1997): arithmetic modulo 2^64
        hashed = (values * (_HASHES[0] | np.uint64(1)) + _HASHES[1]) >> np.uint64(32)
    return hashed.min(axis=0).astype(np.uint32)


def group_of(num_problems: int, pairs: Sequence[Pair]) -> list[int]:
    """The smallest index of each problem's group: groups are joined by pairs of any kind."""
    parents = list(range(num_problems))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    for pair in pairs:
        low, high = sorted((root(pair.first), root(pair.second)))
        parents[high] = low
    return [root(index) for index in range(num_problems)]


__all__ = ["Pair", "Sketch", "find_pairs", "group_of", "sketch_of", "tokens_of"]
