"""Duplicates: kinds of pairs, and templates."""

from __future__ import annotations

import dataclasses
import functools

from support.raw_problems import CONFIG, drawing

from mmprm_hf.curation.duplicates import find_pairs, sketch_of
from mmprm_hf.curation.figures import read_figure
from mmprm_hf.curation.records import RawProblem
from mmprm_hf.nano.world import nano_problems

RODS = "A rod of length 12 cm leans against a wall so that its foot stands 5 cm away from it. How high does it reach?"
RODS_AGAIN = "A rod, 12 cm long, leans against the wall; its foot is 5 cm away from it. What height does the rod reach?"
RODS_OTHER = RODS.replace("12", "13").replace("5 cm", "6 cm")
FILLERS = [
    "How many of the coloured marbles in the bag are neither red nor blue?",
    "Which clock shows the time at which the train leaves for Vienna?",
    "The bar chart shows visitors of a museum. On which day did most of them come?",
    "What is the perimeter of the garden that Anna wants to fence in?",
]


@functools.cache
def figure(seed, scale):
    image = drawing(seed, (240, 180), 6, ("grey", "white", "black"), "black")
    return read_figure(image.resize((int(240 * scale), int(180 * scale))))


def sketch(question, answer="11", seed=0, options=(), scale=1.0, num_figures=1):
    figures = [figure(seed + index, scale) for index in range(num_figures)]
    return sketch_of(RawProblem("1", question, answer, ("x",) * num_figures, options), figures)


def kinds(*sketches, config=CONFIG):
    """Kinds of all pairs among the sketches and some unrelated problems."""
    fillers = [sketch(text, str(number), seed=100 + number) for number, text in enumerate(FILLERS)]
    pairs = find_pairs([*sketches, *fillers], config)
    assert all(pair.second < len(sketches) for pair in pairs)
    return {(pair.first, pair.second): pair.kind for pair in pairs}


def kind(one, other):
    return kinds(one, other).get((0, 1))


def test_kinds_of_pairs():
    rods = sketch(RODS)
    assert kind(rods, sketch(RODS.upper().replace("cm", "\\mathrm{cm}"))) == "exact"
    assert kind(rods, sketch(RODS, scale=0.7)) == "near"  # the figure in another size
    assert kind(rods, sketch(RODS, seed=3)) == "variant"  # another figure
    assert kind(rods, sketch(RODS, answer="10")) == "conflict"
    assert kind(rods, sketch(RODS, answer="10", scale=0.7)) == "variant"
    assert kind(rods, sketch(RODS, answer="")) == "exact"  # a benchmark hides its answers
    assert kind(rods, sketch(RODS, num_figures=0)) == "near"  # or its figures
    assert kind(rods, sketch(RODS_AGAIN, seed=3)) == "near"
    assert kind(rods, sketch(RODS_AGAIN, answer="10")) == "variant"
    assert kind(rods, sketch(RODS_OTHER, answer="12", seed=3)) == "variant"
    assert kind(rods, sketch("Which kite has the longest string?", seed=0)) is None


def test_answers_are_compared_by_value():
    options = ("9", "10", "11")
    by_letter = sketch(RODS_AGAIN, answer="C", options=options)
    assert kind(sketch(RODS, answer="11.0"), by_letter) == "near"
    assert kind(sketch(RODS, answer="C", options=options[::-1]), by_letter) == "variant"


def test_letters_of_drawn_choices_prove_little():
    letters = {"answer": "C", "options": ("A", "B", "C")}
    assert kind(sketch(RODS, **letters), sketch(RODS_AGAIN, seed=3, **letters)) is None
    assert kind(sketch(RODS, **letters), sketch(RODS_AGAIN, **letters)) == "near"
    assert kind(sketch(RODS, **letters), sketch(RODS_AGAIN.replace("5", "6"), **letters)) == "variant"
    strict = dataclasses.replace(CONFIG, near_similarity=0.9)  # so that the texts are less than near, the figures alike
    assert kinds(sketch(RODS), sketch(RODS_AGAIN), config=strict) == {(0, 1): "near"}
    assert kinds(sketch(RODS, **letters), sketch(RODS_AGAIN, **letters), config=strict) == {}


def test_many_copies_of_a_long_text_are_not_a_template():
    pairs = kinds(*(sketch(RODS, scale=1 - step / 20) for step in range(7)))
    assert set(pairs.values()) <= {"near", "exact"} and len(pairs) == 21


def test_texts_with_different_figures_must_share_something():
    area = "What is the area of the shaded region in the figure?"
    perimeter = "What is the perimeter of the shaded region in the figure?"
    assert kind(sketch(area, seed=1), sketch(perimeter, seed=2)) != "near"
    choices = {"answer": "B", "options": ("9", "11", "13")}
    again = "What is the total area of the shaded region in this figure?"
    assert kind(sketch(area, seed=1, **choices), sketch(again, seed=2, **choices)) == "near"


def test_different_texts_in_other_scripts_are_different():
    for one, other in (
        ("Найдите площадь закрашенной части квадрата", "Сколько яблок лежит в корзине у Маши"),
        ("Βρείτε το εμβαδόν του τριγώνου", "Πόσα μήλα έχει η Μαρία στο καλάθι"),
        ("จงหาพื้นที่ของรูปสามเหลี่ยม", "แม่มีแอปเปิลทั้งหมดกี่ผล"),
        ("त्रिभुज का क्षेत्रफल ज्ञात कीजिए", "मारिया के पास कितने सेब हैं"),
        ("أوجد مساحة المثلث المظلل", "كم تفاحة في السلة"),
    ):
        assert kind(sketch(one, seed=1), sketch(other, seed=2)) is None, one


def test_other_numbers_are_another_problem_even_with_one_answer():
    assert kind(sketch(RODS), sketch(RODS_OTHER, seed=3)) == "variant"


def test_problems_of_a_template_are_told_apart_by_their_pixels():
    text = "What is the size of angle C?"
    many = [sketch(text, answer="75", seed=seed) for seed in range(8)]
    assert kinds(*many) == {}
    assert kinds(*many, sketch(text, answer="75", seed=3)) == {(3, 8): "exact"}
    assert kinds(*many, sketch(text, answer="76", seed=3)) == {(3, 8): "conflict"}
    smaller = sketch(text, answer="75", seed=3, scale=0.7)
    assert kinds(*many, smaller) == {}
    assert kinds(*many, dataclasses.replace(smaller, is_benchmark=True)) == {(3, 8): "near"}
    other = sketch("How large is the angle C?", answer="75", seed=3)
    assert set(kinds(*many, other).values()) <= {"near"}
    few = dataclasses.replace(CONFIG, max_same_text=20)
    assert set(kinds(*many, config=few).values()) == {"variant"}


def test_nano_problems_are_not_taken_for_one_another():
    """Their texts are templates: "How much more is C than A?" and "... B than D?" over two charts of one look."""
    sketches = []
    for nano in nano_problems("train", 400):
        problem = nano.to_problem()
        raw = RawProblem(problem.id, problem.question, problem.answer, problem.images)
        sketches.append(sketch_of(raw, [read_figure(image) for image in problem.images]))
    assert find_pairs(sketches, CONFIG) == []
