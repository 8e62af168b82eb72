"""A model that restructures as its input asks, and rows for it."""

import io
import re

from PIL import Image

from mmprm_hf.restructuring import FreeFormRow
from support.stub_server import StubAnswer

QUESTION = "Tom has 3 bags of 4 marbles and loses 5. How many are left?"
ORIGINAL = "There are 3 bags with 4 marbles each, so 3*4=12 marbles. He loses 5 of them, and 12-5=7 are left. Answer: 7"
GOOD = (
    "<step>There are 3 bags with 4 marbles each, so 3*4=12 marbles.</step>"
    "<step>He loses 5 of them, and 12-5=7 are left.</step><answer>7</answer>"
)
BROKEN = {  # a reply for each reason but "answer_undecided" and "original_wrong", which lie in the gold
    "format": GOOD.replace("<answer>7</answer>", ""),
    "marker_in_text": GOOD.replace("There", "<|im_end|>There"),
    "few_steps": GOOD.replace("</step><step>", " "),
    "repeated_step": GOOD.replace("<answer>", "<step>He loses 5 of them, and 12-5=7 are  left.</step><answer>"),
    "too_short": "<step>3*4=12</step><step>12-5=7</step><answer>7</answer>",
    "too_long": GOOD.replace("marbles.", "marbles. " + "And so it goes on. " * 25),
    "numbers_added": GOOD.replace("3*4=12", "3*4=12=6*2"),
    "numbers_lost": GOOD.replace("4 marbles", "marbles")
    .replace("3*4=12", "the product is 3 times")
    .replace("12-5", "less 5"),
    "answer_changed": GOOD.replace("<answer>7", "<answer>12"),
}


def solution_in(messages):
    """The free-form solution in a prompt."""
    content = messages[0]["content"]
    text = content if isinstance(content, str) else content[-1]["text"]
    return re.search(r"<<<solution\n(.*)\nsolution>>>", text, re.DOTALL).group(1)


def split(original):
    """A faithful reply: one step per sentence."""
    body, _, answer = original.rpartition(" Answer: ")
    return "".join(f"<step>{part}.</step>\n" for part in body.rstrip(".").split(". ")) + f"<answer>{answer}</answer>"


def policy(messages, seed):
    """Faithful, but for solutions that ask for a failure; "once" fails at the first attempt only."""
    original = solution_in(messages)
    reply, has_figure = split(original), not isinstance(messages[0]["content"], str)
    if "[cut]" in original:
        return StubAnswer(reply[:60], "length", 9)
    if "[added]" in original or ("[once]" in original and seed == 0) or ("[blind]" in original and not has_figure):
        return reply.replace("12", "13")
    if "[eye]" in original and has_figure:
        return reply.replace(". ", ".</step><step>").replace("</step>\n<step>", " ")
    if "[split]" in original and has_figure:
        return reply.replace(" and 12", "</step><step>and 12")
    return reply


def solution(note="", number=0):
    """A solution; `note` asks `policy` for a failure, `number` makes it another one."""
    bags = f"There are 3 bags {note} with 4 marbles each in {number}, so 3*4=12 marbles."
    return f"{bags} He loses 5, and 12-5=7 are left. Answer: 7"


def free_form_row(index, note="", **columns):
    """A row with such a solution."""
    return FreeFormRow(f"r{index}", QUESTION, solution(note, index), answer="7", **columns)


def png(colour):
    """Bytes of a small figure."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12), colour).save(buffer, format="PNG")
    return buffer.getvalue()
