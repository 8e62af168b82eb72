"""Places of figures in a question: which placeholders there are, what they address, and every fault with its counts."""

import time

import pytest
from support.tiny_models import make_figure, make_processor

from mmprm_hf.models import MMPRMProcessor, chat_content, join_parts, split_question

# LLaVA's own template: all figures of a turn, then all its texts.
FIGURES_FIRST = (
    "{% for message in messages %}<|user|>"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_every_way_to_write_a_placeholder_is_read():
    for first, second in (
        ("<image>", "<image>"),
        ("<image1>", "<image2>"),
        ("<image 1>", "<image 2>"),
        ("<image_1>", "<image_2>"),
        ("<Image-1>", "<IMAGE 2 >"),
    ):
        assert split_question(f"In {first}\n and {second}, x?", 2) == ["In ", 0, "\n and ", 1, ", x?"]
    for text in ("<img>", "<|image_1|", "<images>", "image 1", "(image 1)", "<image1234>", "<image src='a.png'>"):
        assert split_question(f"{text}?", 1) == [0, f"{text}?"], text


def test_numbers_address_figures_and_a_repeated_number_is_a_name():
    assert split_question("<image2>, then <image1>", 2) == [1, ", then ", 0]
    assert split_question("<image 1>: is <image 1> round?", 1) == [0, ": is <image 1> round?"]


def test_a_question_without_placeholders_has_its_figures_before_it():
    assert split_question(" What is x?\n", 3) == [0, 1, 2, " What is x?\n"]
    assert split_question("What is x?", 0) == ["What is x?"]


def test_faults_name_both_counts_and_the_rule():
    for question, num_figures, message in (
        ("In <image1> and <image2>?", 1, "2 placeholders .'<image1>', '<image2>'. in the question but 1 figure. Mark"),
        ("In <image>?", 2, "1 placeholder .'<image>'. in the question but 2 figures. Mark the place of every figure"),
        ("What does the tag <image> do?", 0, "1 placeholder .* but 0 figures. .* names it in another way"),
        ("<image1> or <image>?", 2, "2 placeholders .* but 2 figures. Number all placeholders or none"),
        ("<image2> or <image3>?", 2, "2 placeholders .* but 2 figures. Placeholders are numbered from 1 to the number"),
        ("<image0>?", 1, "1 placeholder .* but 1 figure. Placeholders are numbered from 1"),
        ("<image1> and again <image1>?", 2, "1 placeholder .* but 2 figures"),
    ):
        with pytest.raises(ValueError, match=f"^Found {message}"):
            split_question(question, num_figures)


def test_hostile_questions_take_no_longer_than_others():
    start = time.perf_counter()
    for text in ("<image" + " " * 90_000, "<" * 90_000, "<image" * 15_000, "<image" + "-" * 90_000):
        assert split_question(text, 0) == [text]
    assert time.perf_counter() - start < 2  # milliseconds; quadratic time would be minutes


def test_parts_of_a_chat_become_a_question_with_its_places():
    for parts, question in (
        ([None, None, "What is x?"], "What is x?"),
        (["In ", None, ", x?"], "In <image>, x?"),
        ([None, "shows a, ", None, " b"], "<image>shows a, <image> b"),
        (["What is x?", None], "What is x?<image>"),
        (["In <image2> and <image1>?", None, None], "In <image2> and <image1>?"),  # the text says it itself
        (["a", "b"], "a|b"),
        ([None, "a", "b", None], "<image>a|b<image>"),
    ):
        assert join_parts(parts, "|") == question
        num_figures = parts.count(None)
        assert len(split_question(question, num_figures)) >= num_figures


def test_a_template_that_writes_figures_first_does_not_move_them():
    """LLaVA's template, and the shipped policy's: the image token then stands in the text."""
    keeps, moves = make_processor(), make_processor()
    moves.chat_template = FIGURES_FIRST
    image = {"type": "image"}
    for processor in (keeps, moves):
        assert chat_content(processor, [1, 0, "x?"]) == [image, image, {"type": "text", "text": "x?"}]
    parts = ["In ", 0, " and ", 1, "?"]
    assert [part["type"] for part in chat_content(keeps, parts)] == ["text", "image", "text", "image", "text"]
    assert chat_content(moves, parts) == [{"type": "text", "text": "In <image> and <image>?"}]
    moves.image_token = None
    with pytest.raises(ValueError, match="LlavaProcessor writes all figures before the text"):
        chat_content(moves, parts)


def test_the_prm_reads_each_figure_at_its_place():
    figures = [make_figure(0), make_figure(5)]
    for template in (None, FIGURES_FIRST):
        base = make_processor()
        base.chat_template = template or base.chat_template
        for options in ({}, {"prompt_template": "{images}Q: {question}"}):
            processor = MMPRMProcessor(make_marked(base), **options)
            inputs = processor(images=figures, text="In <image2> and <image1>, x?", steps=["a"])
            other = processor(images=figures[::-1], text="In <image1> and <image2>, x?", steps=["a"])
            assert inputs["input_ids"].equal(other["input_ids"])
            assert inputs["pixel_values"].equal(other["pixel_values"])
            tokens = processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist())
            shown = "".join(token for token in tokens if not token.startswith("<|")).replace("<image>" * 16, "#")
            assert shown.removeprefix("Q: ") == "In # and #, x?a<prm>"


def make_marked(base):
    """The processor with a tokenizer that knows the step marker."""
    marked = make_processor(with_marker=True)
    marked.chat_template = base.chat_template
    return marked
