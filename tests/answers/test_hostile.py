"""Answers that are not answers: no verdict raises, hangs or wins."""

import itertools
import random
import time
from concurrent.futures import ThreadPoolExecutor

from mmprm_hf.answers import RuleVerifier, extract_answer, group_answers
from mmprm_hf.data import Verdict

GOLDS = ["17", "2\\sqrt{3}", "7:35", "(3, 4)", "north", "x+1", "x^2+y^2=4", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"]


def hostile_texts(rng: random.Random):
    """Endless text of the kinds that broke parsers; none is the answer to a gold of the test."""
    pieces = [
        "\\frac",
        "{",
        "}",
        "\\sqrt",
        "^",
        "_",
        "(",
        ")",
        "[",
        "\\{",
        "$",
        "\\left",
        "\\right",
        "&",
        "\\\\",
        "!",
        "|",
    ]
    pieces += [
        "\\begin{cases}",
        "\\boxed{",
        "\x00",
        "\x1b[2J",
        "\u202e",
        "\ud800",
        "\udfff",
        "\uffff",
        "٣",
        "\n",
        "%",
        "#",
    ]
    makers = [
        lambda: rng.choice(["98^{76^{54^{32}}}", "987654321!!", "x+9^{9^{9^9}}", "\\binom{10^{9}}{5}", "2^{10^{10}x}"]),
        lambda: "(" * rng.randint(100, 3000) + "7" + ")" * rng.randint(0, 3000),
        lambda: "\\{" + ",".join(str(rng.randint(100, 999)) for _ in range(rng.randint(20, 300))) + "\\}",
        lambda: "".join(rng.choices(pieces, k=rng.randint(1, 60))),
        lambda: "".join(rng.choice(pieces) + rng.choice("89 xyz") for _ in range(rng.randint(1, 40))),
        lambda: "".join(chr(rng.randrange(0x11_0000)) for _ in range(rng.randint(1, 80))),
        lambda: rng.choice(pieces) * rng.randint(1, 900),
        lambda: "\\frac{8}{" * rng.randint(1, 30) + "0" + "}" * rng.randint(0, 30),
        lambda: f"{rng.randint(2, 9)}e{rng.randint(20, 10**4)}",
    ]
    yield from (maker() for maker in itertools.cycle(makers))


def test_two_thousand_hostile_answers_never_hang_raise_or_win():
    texts = list(itertools.islice(hostile_texts(random.Random(0)), 2000))
    slowest = 0.0
    for answer, gold in zip(texts, itertools.cycle(GOLDS), strict=False):
        start = time.process_time()
        verdict = RuleVerifier().verify(answer, gold)
        slowest = max(slowest, time.process_time() - start)
        assert verdict is not Verdict.CORRECT, (answer[:80], gold)
        assert isinstance(RuleVerifier().verify(gold, answer), Verdict)
        extract_answer(answer)
    assert slowest < 2  # seconds of the processor; it takes a tenth
    assert len(group_answers(texts)) == len(texts)


def test_verdicts_are_the_same_in_every_thread():
    pairs = [(f"x+{n}\\sqrt{{3}}", f"\\sqrt{{{3 * n * n}}}+x") for n in range(2, 40)]
    with ThreadPoolExecutor(8) as threads:
        verdicts = list(threads.map(lambda pair: RuleVerifier().verify(*pair), pairs))
    assert verdicts == [Verdict.CORRECT] * len(pairs)
