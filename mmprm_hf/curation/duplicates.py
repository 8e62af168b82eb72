"""Which problems are one problem: by text (MinHash, then exact similarity), answer, and perceptual hash of figures.

Four kinds of pairs. `exact`: same normalised text, answer and figure. `near`: the same answer and nearly the same
text, or a less similar text and a similar figure (another translation, another scan). `conflict`: same text and figure,
another answer. `variant`: nearly the same text, another answer or figure (other numbers): two problems, but a model
that trained on one is not tested fairly on the other. An answer that is not known agrees with any. NumPy and the
standard library only.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import logging
import math
import re
import string
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from ..answers import answers_equivalent, clean_answer
from .config import CurationConfig
from .figures import Figure, look_distance
from .records import RawProblem

NUM_BANDS, ROWS_PER_BAND = 128, 3
"""Two texts of similarity s become candidates with probability 1 - (1 - s^3)^128: 0.90 at 0.26, 0.996 at 0.35."""
_MAX_PAIRS_IN_BUCKET = 50_000  # of more, which hold what many texts share, those of other buckets must do
_LONG_TEXT = 20  # tokens; a text that long is no phrase that unrelated problems have in common

Kind = Literal["exact", "near", "conflict", "variant"]
logger = logging.getLogger(__name__)

_COMMAND = re.compile(
    r"\\(?:mathrm|text|textbf|textit|mathbf|mathit|operatorname|left|right|displaystyle|dfrac|tfrac)\b"
)
_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_TOKEN = re.compile(rf"\d+(?:\.\d+)?|{_IDEOGRAPH.pattern}|(?:(?!{_IDEOGRAPH.pattern})[^\W\d_])+")
_PLACE = re.compile(r"<image\s*\d*>|\(image \d+\)")


def tokens_of(text: str) -> tuple[str, ...]:
    """Words and numbers of a text, without case, markup and places of figures; Chinese in pairs of characters.

    Accents and vowel signs are left out.

    Example:
        >>> tokens_of("What is $\\\\mathrm{AB}$, if 如图 AC = 1.5?")
        ('what', 'is', 'ab', 'if', '如图', 'ac', '1.5')
    """
    text = _PLACE.sub(" ", unicodedata.normalize("NFKD", text).casefold())
    text = "".join(character for character in text if not unicodedata.category(character).startswith("M"))
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
        options: The choices, in no order; empty where they are drawn.
        is_benchmark: Nothing near it may be kept, so that even templates are compared.
    """

    tokens: tuple[str, ...]
    answer: str
    is_letter: bool
    figures: tuple[Figure, ...]
    options: frozenset[str] = frozenset()
    is_benchmark: bool = False

    @property
    def numbers(self) -> frozenset[str]:
        """Numbers in the question."""
        return frozenset(token for token in self.tokens if token[0].isdigit())


def sketch_of(problem: RawProblem, figures: Sequence[Figure], *, is_benchmark: bool = False) -> Sketch:
    """The sketch of a repaired problem."""
    letters = string.ascii_uppercase[: len(problem.options)]
    answer = problem.answer
    if len(answer) == 1 and answer in letters:
        answer = problem.options[letters.index(answer)]
    is_letter = bool(problem.options) and (answer in letters or _PLACE.fullmatch(answer) is not None)
    options = frozenset() if is_letter else frozenset(clean_answer(option) for option in problem.options)
    return Sketch(tokens_of(problem.question), clean_answer(answer), is_letter, tuple(figures), options, is_benchmark)


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

    A text that many problems share but for numbers and single letters is a template ("what is the size of angle C?"):
    among its problems only those of the very same text and figure belong together, and it has no variants.
    """
    texts: dict[tuple[str, ...], list[int]] = collections.defaultdict(list)
    for index, sketch in enumerate(sketches):
        texts[sketch.tokens].append(index)
    num_alike = collections.Counter(_skeleton(sketch.tokens) for sketch in sketches)
    templates = {text: _skeleton(text) for text in texts if num_alike[_skeleton(text)] > config.max_same_text}
    weights = _weights(sketches)
    sets = {text: frozenset(text) for text in texts}
    totals = {text: sum(weights[token] for token in found) for text, found in sets.items()}
    least = min(config.near_similarity_with_figure, config.near_similarity, config.variant_similarity)
    pairs = []

    def compare(first: int, second: int, similarity: float, is_template: bool) -> None:
        first, second = sorted((first, second))
        a, b = sketches[first], sketches[second]
        kind = _kind(a, b, similarity, is_template, config)
        if kind and not (kind == "variant" and (a.tokens in templates or b.tokens in templates)):
            pairs.append(Pair(first, second, kind, round(similarity, 4), look_distance(a.figures, b.figures)))

    for text, members in texts.items():
        for first, second in itertools.combinations(members, 2):
            if text:
                compare(first, second, 1.0, text in templates and len(text) < _LONG_TEXT)
    for one, other in _similar_texts([text for text in texts if text], weights, templates):
        if one in templates and other in templates:
            continue
        shared = sum(weights[token] for token in sets[one] & sets[other])
        similarity = shared / (totals[one] + totals[other] - shared)
        if similarity >= least:
            for first, second in itertools.product(texts[one], texts[other]):
                compare(first, second, similarity, False)
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def _skeleton(tokens: Sequence[str]) -> tuple[str, ...]:
    """A text without its numbers and single letters: "how much more is C than A", "... B than D"."""
    return tuple("#" if token[0].isdigit() or (len(token) == 1 and token.isascii()) else token for token in tokens)


def _kind(a: Sketch, b: Sketch, similarity: float, is_template: bool, config: CurationConfig) -> Kind | None:
    distance = look_distance(a.figures, b.figures)
    is_same_text = a.tokens == b.tokens
    is_same_figure = sorted(figure.pixels for figure in a.figures) == sorted(figure.pixels for figure in b.figures)
    is_alike = distance is not None and distance <= config.max_figure_distance
    is_twin = distance is not None and distance <= config.max_figure_distance / 2
    if is_same_text and is_same_figure and a.options == b.options and not _same_answer(a, b):
        return "conflict"
    if is_template:  # all that is asked stands in the figure
        is_near = is_same_figure or ((a.is_benchmark or b.is_benchmark) and is_twin)
        return ("exact" if is_same_figure else "near") if is_near and _same_answer(a, b) else None
    if (similarity >= config.near_similarity or (is_alike and similarity >= config.near_similarity_with_figure)) and (
        _same_answer(a, b)
    ):
        if is_same_text and is_same_figure:
            return "exact"
        if _same_numbers(a, b) and (is_alike or _is_sure(a, b, similarity, distance, config)):
            is_enough = similarity >= config.near_similarity or not a.is_letter  # letters agree by chance, too
            if is_enough:
                return "near"
    is_variant = similarity >= config.variant_similarity or (is_twin and similarity >= config.near_similarity)
    return "variant" if is_variant else None


def _is_sure(a: Sketch, b: Sketch, similarity: float, distance: float | None, config: CurationConfig) -> bool:
    """Whether two texts of one answer are one problem although the figures do not look alike.

    Figures are drawn anew for translations. Then the texts must have something to share: numbers, choices, or length.
    """
    if a.is_letter or (a.tokens == b.tokens and distance is not None):
        return False
    is_long = similarity >= config.variant_similarity and min(len(a.tokens), len(b.tokens)) >= _LONG_TEXT
    return is_long or bool(a.numbers & b.numbers) or (len(a.options) > 2 and a.options == b.options)


def _same_answer(a: Sketch, b: Sketch) -> bool:
    if not (a.answer and b.answer):  # a benchmark hides its answers
        return True
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


def _similar_texts(
    texts: Sequence[tuple[str, ...]], weights: dict[str, float], templates: dict[tuple[str, ...], tuple[str, ...]]
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Pairs of different texts worth a look, each once; not two of one template, which differ in what they ask."""
    if not texts:
        return
    signatures = np.stack([_signature(text, weights) for text in texts])
    seen: set[int] = set()
    num_left_out = 0
    for band in range(NUM_BANDS):
        buckets: dict[bytes, list[int]] = collections.defaultdict(list)
        for index, row in enumerate(signatures[:, band * ROWS_PER_BAND : (band + 1) * ROWS_PER_BAND]):
            buckets[row.tobytes()].append(index)
        for bucket in buckets.values():
            groups = collections.defaultdict(list)
            for index in bucket:
                groups[templates.get(texts[index], index)].append(index)
            num_pairs = (len(bucket) ** 2 - sum(len(group) ** 2 for group in groups.values())) // 2
            if num_pairs > _MAX_PAIRS_IN_BUCKET:
                num_left_out += 1
                continue
            for one, other in itertools.combinations(groups.values(), 2):
                for first, second in itertools.product(one, other):
                    first, second = sorted((first, second))
                    key = first * len(texts) + second
                    if key not in seen:
                        seen.add(key)
                        yield texts[first], texts[second]
    if num_left_out:
        logger.warning(
            "%d buckets of %d texts were too full to be compared pair by pair; near duplicates in them may be missed.",
            num_left_out,
            len(texts),
        )


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
