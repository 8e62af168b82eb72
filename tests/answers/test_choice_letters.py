"""Letters in sentences: what is called the answer counts, what is only mentioned does not."""

from mmprm_hf.answers import RuleVerifier

OPTIONS = ("7", "12", "x+1", "3 cm")
ASSERTED = """
    B|b|(B)|B.|B) 12|B: 12|B, because it fits|Option B|option (B) 12|Choice B is correct.
    The correct option is B.|12|**B**|The answer is B.|The answer is (B).|The answer is B, not A|It is B
    It's B|I think it's B|So it must be (B), I think|Therefore, the answer is B.|I choose B|I pick (B).
    B is the answer|B is correct|(B) is the right answer.|A is wrong, so B|It's not A but B|A is wrong so B
    Answer C is excluded, leaving B|It is B, it can't be A or C|选B|选B。|故选：B|答案是B|B选项|B项|B是正确的
    正确答案是B|应选B|The answer: B, it doesn't make sense for it to be A or C
"""
MENTIONED = """
    B is incorrect, choose A|B is wrong|B is not correct|B is not the answer|(B) is false
    Option B is eliminated|not B|We can rule out (B)|I considered (B) but chose A
    The answer is A. (B) is a distractor.|B. not 12|B is the least likely|A is wrong, B too|neither A nor B
    The answer is either B or C|A or B|A and B|B and C|the wrong answer is B|B?|no B|The incorrect option is B
    The answer can't be B|All but B|anything except (B)|B, which is wrong|It is B that is wrong
    if the answer is B then contradiction; hence C|The answer is anything but B.|B. It is wrong.
    (B) is my second choice|B is correct? No.|Not B, not A|Avoid B|B or not B|Many choose B wrongly
    It is not true that the answer is B|B (wrong)|B is greater than A|A is greater than B
    Point B is the center|triangle B is larger|The first option is B|B: wrong|B. no|I would not pick B
    If B then C|B implies A|The answer is B if x>0|Suppose B|A>B|A=B|A-B|the set B|plan B|不选B|不应该选B
    答案不是B|B不对|B是错的|B以外|除了B|选项B错误|不是B|B不正确|排除B|B不是A|答案不可能是B
"""


def texts(table: str) -> list[str]:
    return [text.strip() for text in table.replace("\n", "|").split("|") if text.strip()]


def test_a_letter_that_is_called_the_answer_counts():
    verify = RuleVerifier().verify
    for gold, expected in (("B", "correct"), ("D", "incorrect")):
        verdicts = {a: str(verify(a, gold, answer_type="choice", options=OPTIONS)) for a in texts(ASSERTED)}
        assert verdicts == dict.fromkeys(verdicts, expected)


def test_a_letter_that_is_only_mentioned_does_not_count():
    verify = RuleVerifier().verify
    for options in (OPTIONS, ()):
        verdicts = {a: verify(a, "B", answer_type="choice", options=options) for a in texts(MENTIONED)}
        assert [answer for answer, verdict in verdicts.items() if verdict == "correct"] == []


def test_what_stands_beside_a_letter_may_contradict_it():
    verify = RuleVerifier().verify
    for answer in ("(B) 13", "B 7", "B. 12 is wrong"):
        assert verify(answer, "B", answer_type="choice", options=OPTIONS) == "undecided", answer
    for answer in ("12 (B)", "(B) 12", "B, 12"):
        assert verify(answer, "B", answer_type="choice", options=OPTIONS) == "correct", answer
