"""Which problems are one problem: by text, answer, and perceptual hash of figures.

Four kinds of pairs. `exact`: same normalised text, answer and figure. `near`: the same answer and nearly the same
text, or a less similar text and a similar figure (another translation, another scan). `conflict`: same text and figure,
another answer. `variant`: nearly the same text, another answer or figure (other numbers): two problems, but a model
that trained on one is not tested fairly on the other. An answer that is not known agrees with any.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Literal

from ..answers import answers_equivalent, clean_answer
from .config import CurationConfig
from .figures import Figure, figure_distance
from .records import RawProblem
from .text_similarity import FIGURE_MARK, Text, TextSimilarity, tokens_of

_LONG_TEXT = 20  # tokens; unrelated problems do not have a phrase that long in common
Kind = Literal["exact", "near", "conflict", "variant"]


@dataclasses.dataclass(frozen=True)
class Sketch:
    """What is kept of a problem for comparing it with others."""

    tokens: Text  # of the question, in order
    answer: str  # the right option's text, or the answer
    is_letter: bool  # the answer is a mere letter, as the choices are drawn: one in five agree by chance
    figures: tuple[Figure, ...]
    options: frozenset[str] = frozenset()  # empty where they are drawn
    is_benchmark: bool = False  # nothing near it may be kept: even templates are compared

    @property
    def numbers(self) -> frozenset[str]:
        """Numbers in the question."""
        return frozenset(token for token in self.tokens if token[0].isdigit())


def sketch_of(problem: RawProblem, figures: Sequence[Figure], *, is_benchmark: bool = False) -> Sketch:
    """Return the sketch of a repaired problem."""
    option = problem.option(problem.answer)
    answer = problem.answer if option is None else option
    is_letter = bool(problem.options) and (answer in problem.letters or FIGURE_MARK.fullmatch(answer) is not None)
    options = frozenset() if is_letter else frozenset(map(clean_answer, problem.options))
    return Sketch(tokens_of(problem.question), clean_answer(answer), is_letter, tuple(figures), options, is_benchmark)


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two problems that belong together."""

    first: int  # index
    second: int  # greater than `first`
    kind: Kind
    similarity: float  # of their texts, weighted Jaccard, in [0, 1]
    distance: float | None  # see `figure_distance`

    def in_words(self) -> str:
        """Return why they belong together, for people."""
        distance = "" if self.distance is None else f", figures differ in {self.distance:.0%} of bits"
        return f"{self.kind}: texts alike to {self.similarity:.0%}{distance}"


def find_pairs(sketches: Sequence[Sketch], config: CurationConfig) -> list[Pair]:
    """Return all pairs that belong together, ordered by indices.

    All pairs of one text are found; others with the probability that MinHash gives them (see `text_similarity`), the
    same ones in every run.

    A text that many problems share, but for numbers and single letters, is a template ("what is the size of angle C?"):
    of its problems only those with the very same text and figure belong together, and it has no variants.
    """
    members: dict[Text, list[int]] = collections.defaultdict(list)
    for index, sketch in enumerate(sketches):
        members[sketch.tokens].append(index)
    num_alike = collections.Counter(_skeleton(sketch.tokens) for sketch in sketches)
    templates = {text for text in members if num_alike[_skeleton(text)] > config.max_same_text}
    text_similarity = TextSimilarity([sketch.tokens for sketch in sketches])
    pairs = []

    def compare(first: int, second: int, similarity: float) -> None:
        first, second = sorted((first, second))
        a, b = sketches[first], sketches[second]
        is_template = a.tokens == b.tokens and a.tokens in templates and len(a.tokens) < _LONG_TEXT
        kind = _kind(a, b, similarity, is_template, config)
        if kind and not (kind == "variant" and {a.tokens, b.tokens} & templates):
            pairs.append(Pair(first, second, kind, round(similarity, 4), figure_distance(a.figures, b.figures)))

    for text, indices in members.items():
        is_short_template = text in templates and len(text) < _LONG_TEXT
        of_text = _pairs_of_template(sketches, indices) if is_short_template else itertools.combinations(indices, 2)
        for first, second in of_text if text else ():
            compare(first, second, 1.0)
    least = min(config.near_similarity_with_figure, config.near_similarity, config.variant_similarity)
    groups = {text: _skeleton(text) if text in templates else text for text in members if text}
    for text, other, similarity in text_similarity.similar_pairs(groups, least):
        if not {text, other} <= templates:
            for first, second in itertools.product(members[text], members[other]):
                compare(first, second, similarity)
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def _pairs_of_template(sketches: Sequence[Sketch], indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Pairs of a template's problems that may belong together: of the same figures, or with a benchmark's problem."""
    by_pixels: dict[tuple[str, ...], list[int]] = collections.defaultdict(list)
    for index in indices:
        by_pixels[_pixels(sketches[index])].append(index)
    for alike in by_pixels.values():
        yield from itertools.combinations(alike, 2)
    benchmarks = [index for index in indices if sketches[index].is_benchmark]
    for first, second in itertools.product(benchmarks, indices):
        is_new = first < second or not sketches[second].is_benchmark  # two of benchmarks once
        if is_new and _pixels(sketches[first]) != _pixels(sketches[second]):
            yield first, second


def _pixels(sketch: Sketch) -> tuple[str, ...]:
    """The pixels of all figures, in any order."""
    return tuple(sorted(figure.pixel_hash for figure in sketch.figures))


def _skeleton(text: Text) -> Text:
    """A text without its numbers and single letters: "how much more is C than A", "... B than D"."""
    return tuple("#" if token[0].isdigit() or (len(token) == 1 and token.isascii()) else token for token in text)


def _kind(a: Sketch, b: Sketch, similarity: float, is_template: bool, config: CurationConfig) -> Kind | None:
    distance = figure_distance(a.figures, b.figures)
    is_same_text = a.tokens == b.tokens
    is_same_figure = _pixels(a) == _pixels(b)
    is_alike = distance is not None and distance <= config.max_figure_distance
    is_twin = distance is not None and distance <= config.max_figure_distance / 2
    if is_same_text and is_same_figure and a.options == b.options and not _same_answer(a, b):
        return "conflict"
    if is_template:  # all that is asked is in the figure
        is_near = is_same_figure or ((a.is_benchmark or b.is_benchmark) and is_twin)
        return ("exact" if is_same_figure else "near") if is_near and _same_answer(a, b) else None
    is_close = similarity >= config.near_similarity
    if (is_close or (is_alike and similarity >= config.near_similarity_with_figure)) and _same_answer(a, b):
        if is_same_text and is_same_figure:
            return "exact"
        is_one = _same_numbers(a, b) and (is_alike or _shares_enough(a, b, similarity, distance, config))
        if is_one and (is_close or not a.is_letter):  # letters agree by chance, too
            return "near"
    is_variant = similarity >= config.variant_similarity or (is_twin and is_close)
    return "variant" if is_variant else None


def _shares_enough(a: Sketch, b: Sketch, similarity: float, distance: float | None, config: CurationConfig) -> bool:
    """Whether two texts of one answer are one problem although the figures do not look alike.

    Figures are drawn anew for translations. Then the texts must have something in common: numbers, choices, or length.
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
    """Whether two questions give the same numbers; a translation may write some as words, or all.

    Where the answers are mere letters, the numbers must be the very same.
    """
    few, many = sorted((a.numbers, b.numbers), key=len)
    return not few or (few == many if a.is_letter else 2 * len(few & many) >= len(few))
