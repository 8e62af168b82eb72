"""Duplicates: kinds of pairs, templates, and that MinHash misses nothing that matters."""

from __future__ import annotations

import dataclasses
import io
import itertools
import random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mmprm_hf.curation import duplicates
from mmprm_hf.curation.config import CurationConfig
from mmprm_hf.curation.duplicates import Pair, find_pairs, group_of, sketch_of, tokens_of
from mmprm_hf.curation.figures import NUM_BITS, Figure, difference_hash, look_distance, read_figure
from mmprm_hf.curation.records import RawProblem, RowError
from mmprm_hf.nano.world import problems

CONFIG = CurationConfig(sources=("hub:a/b",))
RODS = "A rod of length 12 cm leans against a wall so that its foot stands 5 cm away from it. How high does it reach?"
RODS_AGAIN = "A rod, 12 cm long, leans against the wall; its foot is 5 cm away from it. What height does the rod reach?"
RODS_OTHER = RODS.replace("12", "13").replace("5 cm", "6 cm")
FILLERS = [
    "How many of the coloured marbles in the bag are neither red nor blue?",
    "Which clock shows the time at which the train leaves for Vienna?",
    "The bar chart shows visitors of a museum. On which day did most of them come?",
    "What is the perimeter of the garden that Anna wants to fence in?",
]


def figure(seed=0, scale=1.0):
    """A drawing that depends on the seed."""
    draw_random = random.Random(seed)
    image = Image.new("RGB", (240, 180), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        corners = [(draw_random.randrange(240), draw_random.randrange(180)) for _ in range(3)]
        draw.polygon(corners, outline="black", fill=draw_random.choice(("grey", "white", "black")))
    return image.resize((int(240 * scale), int(180 * scale)))


def sketch(question, answer="11", seed=0, options=(), scale=1.0, num_figures=1):
    figures = [read_figure(figure(seed + index, scale)) for index in range(num_figures)]
    return sketch_of(RawProblem("1", question, answer, ("x",) * num_figures, options), figures)


def kinds(*sketches, config=CONFIG):
    fillers = [sketch(text, str(number), seed=100 + number) for number, text in enumerate(FILLERS)]
    pairs = find_pairs([*sketches, *fillers], config)
    assert all(pair.second < len(sketches) for pair in pairs)
    return {(pair.first, pair.second): pair.kind for pair in pairs}


def test_kinds_of_pairs():
    one = sketch(RODS)
    assert kinds(one, sketch(RODS.upper().replace("cm", "\\mathrm{cm}"))) == {(0, 1): "exact"}
    assert kinds(one, sketch(RODS, scale=0.7)) == {(0, 1): "near"}  # the figure in another size
    assert kinds(one, sketch(RODS, seed=3)) == {(0, 1): "variant"}  # another figure
    assert kinds(one, sketch(RODS, answer="10")) == {(0, 1): "conflict"}
    assert kinds(one, sketch(RODS, answer="10", scale=0.7)) == {(0, 1): "variant"}
    assert kinds(one, sketch(RODS, answer="")) == {(0, 1): "exact"}  # a benchmark hides its answers
    assert kinds(one, sketch(RODS, num_figures=0)) == {(0, 1): "near"}  # or its figures
    assert kinds(one, sketch(RODS_AGAIN, seed=3)) == {(0, 1): "near"}
    assert kinds(one, sketch(RODS_AGAIN, answer="10")) == {(0, 1): "variant"}
    assert kinds(one, sketch(RODS_OTHER, answer="12", seed=3)) == {(0, 1): "variant"}
    assert kinds(one, sketch("Which kite has the longest string?", seed=0)) == {}


def test_answers_are_compared_by_value():
    options = ("9", "10", "11")
    by_letter = sketch(RODS_AGAIN, answer="C", options=options)
    assert kinds(sketch(RODS, answer="11.0"), by_letter) == {(0, 1): "near"}
    assert kinds(sketch(RODS, answer="C", options=options[::-1]), by_letter) == {(0, 1): "variant"}


def test_letters_of_drawn_choices_prove_little():
    letters = {"answer": "C", "options": ("A", "B", "C")}
    assert kinds(sketch(RODS, **letters), sketch(RODS_AGAIN, seed=3, **letters)) == {}
    assert kinds(sketch(RODS, **letters), sketch(RODS_AGAIN, **letters)) == {(0, 1): "near"}
    assert kinds(sketch(RODS, **letters), sketch(RODS_AGAIN.replace("5", "6"), **letters)) == {(0, 1): "variant"}


def test_many_copies_of_a_long_text_are_no_template():
    copies = [sketch(RODS, scale=1 - step / 20) for step in range(7)]
    assert set(kinds(*copies).values()) <= {"near", "exact"} and len(kinds(*copies)) == 21


def test_texts_without_figures_alike_must_share_something():
    area = sketch("What is the area of the shaded region in the figure?", seed=1)
    perimeter = sketch("What is the perimeter of the shaded region in the figure?", seed=2)
    assert kinds(area, perimeter).get((0, 1)) != "near"
    options = {"answer": "B", "options": ("9", "11", "13")}
    choices = [sketch("What is the area of the shaded region in the figure?", seed=1, **options)]
    choices.append(sketch("What is the total area of the shaded region in this figure?", seed=2, **options))
    assert kinds(*choices) == {(0, 1): "near"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Найдите площадь закрашенной части квадрата", "Сколько яблок лежит в корзине у Маши"),
        ("Βρείτε το εμβαδόν του τριγώνου", "Πόσα μήλα έχει η Μαρία στο καλάθι"),
        ("จงหาพื้นที่ของรูปสามเหลี่ยม", "แม่มีแอปเปิลทั้งหมดกี่ผล"),
        ("त्रिभुज का क्षेत्रफल ज्ञात कीजिए", "मारिया के पास कितने सेब हैं"),
        ("أوجد مساحة المثلث المظلل", "كم تفاحة في السلة"),
    ],
)
def test_other_scripts_have_words(one, other):
    assert kinds(sketch(one, seed=1), sketch(other, seed=2)) == {}


def test_other_numbers_are_another_problem_even_with_one_answer():
    assert kinds(sketch(RODS), sketch(RODS_OTHER, seed=3)) == {(0, 1): "variant"}


def test_templates_are_told_apart_by_their_pixels():
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
    for nano in problems("train", 400):
        problem = nano.to_problem()
        raw = RawProblem(problem.id, problem.question, problem.answer, problem.images)
        sketches.append(sketch_of(raw, [read_figure(image) for image in problem.images]))
    assert find_pairs(sketches, CONFIG) == []


def test_minhash_finds_what_a_search_of_all_pairs_finds(monkeypatch):
    """512 random texts in 64 families; of pairs above the thresholds at most one in a hundred may be missed."""
    draw_random = random.Random(0)
    words = ["w" + a + b for a in "abcdefghijklmnopqrstuvwxyz" for b in "abcdefghijklmnopqrstuvwxyz"]
    sketches = []
    base = Figure((10, 10), "", 0)
    for family in range(64):
        text = draw_random.sample(words, 20)
        for member in range(8):
            changed = [draw_random.choice(words) if draw_random.random() < 0.25 else word for word in text]
            found = (dataclasses.replace(base, pixels=f"{family} {member}"),)
            sketches.append(dataclasses.replace(sketch(" ".join(changed)), figures=found))
    found = find_pairs(sketches, CONFIG)
    everything = itertools.combinations(range(len(sketches)), 2)
    texts = [found.tokens for found in sketches]
    monkeypatch.setattr(duplicates, "_similar_texts", lambda *_: ((texts[i], texts[j]) for i, j in everything))
    wanted = find_pairs(sketches, CONFIG)
    assert len(wanted) > 1000 and set(found) <= set(wanted)
    assert len(found) >= 0.99 * len(wanted)


def test_the_order_of_pairs_and_hashes_does_not_depend_on_the_process():
    # Python's own hashes of texts differ from process to process; crc32 and a seeded generator do not.
    weights = {"area": 1.0, "rod": 3.0}
    assert duplicates._signature(("area", "rod"), weights)[:3].tolist() == [167642006, 482628447, 849843465]


def test_tokens():
    assert tokens_of("What is $\\mathrm{AB}$ (image 2)?") == tokens_of("what  is AB?<image1>")
    assert tokens_of("如图所示") == ("如图", "图所", "所示") and tokens_of("角 $A$ 的") == ("角", "a", "的")
    assert tokens_of("1.5 cm, 15") == ("1.5", "cm", "15")
    assert tokens_of("１２") == ("12",)


def test_groups():
    pairs = [Pair(0, 2, "near", 1.0, None), Pair(2, 3, "variant", 1.0, None), Pair(4, 5, "variant", 1.0, None)]
    assert group_of(6, pairs) == [0, 1, 0, 0, 4, 4]


def test_hashes_of_figures():
    one = figure(1)
    margins = Image.new("RGB", (400, 300), "white")
    margins.paste(one, (100, 60))
    jpeg = io.BytesIO()
    figure(1, 0.6).save(jpeg, "JPEG", quality=60)
    for other in (margins, Image.open(jpeg)):
        assert (difference_hash(one) ^ difference_hash(other)).bit_count() <= 0.12 * NUM_BITS
    distances = [
        (difference_hash(figure(a)) ^ difference_hash(figure(b))).bit_count() / NUM_BITS
        for a, b in itertools.combinations(range(12), 2)
    ]
    assert min(distances) > 0.2 and 0.3 < np.mean(distances) < 0.6
    assert difference_hash(Image.new("L", (50, 50), "white")) == 0


def test_distances_of_several_figures():
    a, b, c = (read_figure(figure(seed)) for seed in range(3))
    assert look_distance([a, b], [b, a]) == 0.0
    assert look_distance([a], [c, a]) == 0.0
    assert look_distance([a, a], [a, c]) == look_distance([a], [c]) / 2  # a figure answers for one other only
    assert look_distance([a], []) is None


def test_broken_figures_have_a_reason(tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n")
    for image in (str(tmp_path / "cut.png"), str(tmp_path / "absent.png"), {"bytes": b"", "path": None}, 5):
        with pytest.raises(RowError, match="figure_unreadable"):
            read_figure(image)
