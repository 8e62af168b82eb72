"""math-verify as a verifier: its own verdicts, for tables that were graded by it."""

import asyncio
import threading

import pytest

from mmprm_hf.answers import MathVerifyVerifier
from mmprm_hf.data import Problem, Verdict


@pytest.mark.parametrize(
    ("answer", "gold", "verdict"),
    [
        ("$\\frac{3}{4}$", "0.75", Verdict.CORRECT),
        ("5", "6", Verdict.INCORRECT),
        (None, "6", Verdict.INCORRECT),
        ("6", "", Verdict.UNDECIDED),
        ("6", None, Verdict.UNDECIDED),
    ],
)
def test_it_says_what_math_verify_says(answer, gold, verdict):
    assert MathVerifyVerifier().verify(answer, gold) is verdict
    assert asyncio.run(MathVerifyVerifier().judge(Problem("p", "?", answer=gold), answer)) is verdict


def test_it_works_outside_the_main_thread_and_names_its_version():
    verdicts = []
    thread = threading.Thread(target=lambda: verdicts.append(MathVerifyVerifier().verify("x+1", "1+x")))
    thread.start()
    thread.join()
    assert verdicts == [Verdict.CORRECT]
    assert MathVerifyVerifier().identity["verifier"] == "math-verify" and MathVerifyVerifier().identity["version"]
