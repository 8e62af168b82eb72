"""Words, names and their order: right neighbours and wrong ones, kind by kind."""

import time

from mmprm_hf.answers import RuleVerifier, extract_answer

KINDS = {  # gold: right answers, answers that must not be right
    "names in formulas keep their letters, case and marks": [
        ("mgh", ["mgh", "$mgh$", "mgh."], ["Mgh", "mgH", "mg"]),
        ("kx", ["kx", "$kx$"], ["Kx", "xk+1"]),
        ("qvb", ["qvb"], ["Qvb", "qvB"]),
        ("ABCD", ["ABCD", "ABCD."], ["abcd", "ABDC"]),
        ("x, y", ["x, y", "x,y"], ["x y", "xy"]),
        ("xy", ["xy", "xy."], ["xy!", "Xy"]),
        ("p, q", ["p, q"], ["p q"]),
        ("a;b", ["a;b"], ["a b"]),
        ("2an", ["2an"], ["2", "2is", "2are"]),
        ("an+b", ["an+b"], ["+b", "is+b"]),
        ("at^2", ["at^2"], ["it^2", "^2", "of^2"]),
        ("cos x", ["cos x"], ["a cos x"]),
        ("v is at", ["v is at"], ["v at", "v"]),
        ("Player A", ["player A"], ["Player B", "Player"]),
    ],
    "plain words lose their fillers and the case of a capital": [
        ("isosceles", ["Isosceles", "It is isosceles.", "the isosceles"], ["not isosceles", "ISO"]),
        ("true", ["TRUE", "True."], ["untrue", "false", "not true"]),
        ("There is a tie", ["there is a tie."], ["there is no tie"]),
    ],
    "the order of words counts": [
        ("true, false", ["True, false"], ["false, true"]),
        ("increasing, decreasing", ["increasing, decreasing."], ["decreasing, increasing"]),
        ("增大，减小", ["增大，减小。"], ["减小，增大"]),
        ("A beats B and C", ["A beats B and C."], ["C and A beats B"]),
        ("north, then east", ["north, then east"], ["then east, north", "east, then north"]),
        ("heads; tails", ["heads; tails"], ["tails; heads"]),
        ("March 5, 2021", ["March 5, 2021."], ["5 March 2022", "May 5, 2021"]),
        ("1 and 5 respectively", ["1 and 5 respectively"], ["5 and 1 respectively"]),
        ("red and blue", ["blue and red", "red, blue"], ["red and green", "red"]),
        ("甲和乙", ["乙和甲"], ["甲", "甲和丙"]),
    ],
    "parts of a question are compared each with its own": [
        ("(a) 3 (b) 5", ["(a) 3 (b) 5", "a) 3, b) 5", "(a) 3.0, (b) 5"], ["(a) 5 (b) 3", "(a) 3", "(a) 3 (b) 5 (c) 7"]),
        ("(1) x; (2) y", ["(1) x; (2) y"], ["(1) y; (2) x"]),
    ],
    "conditions count": [
        ("f(x)=0 for every rational x", ["f(x)=0 for every rational x."], ["f(x)=0 for every irrational x"]),
        ("x=1 for all even n", ["x=1 for all even n"], ["x=1 for all odd n", "x=1 for all n"]),
    ],
    "what an answer retracts is not its answer": [
        ("5", ["5", "x = 5", "5."], ["5 (rejected)", "x = 5 (extraneous)", "5, no, 6", "Let x = 5", "5 is wrong"]),
        ("5", ["The answer is 5."], ["The wrong answer is 5.", "The answer is 5. The answer is 6.", "Try x = 5"]),
        ("B", ["B."], ["the wrong answer is B", "不选B"]),
        ("12", ["The answer is:\n- 12", "The answer is:\n\n* 12"], ["-12"]),
        ("-12", ["-12", "- 12", "The answer is -12."], ["The answer is:\n- 12"]),
    ],
    "a mark of an answer holds it": [
        ("84", ["<answer>84</answer>", '{"answer": "84"}', '{"steps": 2, "answer": 84}'], ["<answer>48</answer>"]),
        ("84", ["So. " * 900 + "The answer is 84."], ["84. " * 900, "84 " * 900, "So. " * 900 + "The answer is 85."]),
    ],
}


def test_each_kind_has_its_right_and_its_wrong_neighbours():
    verify = RuleVerifier().verify
    for kind, rows in KINDS.items():
        for gold, right, wrong in rows:
            assert {answer: str(verify(answer, gold)) for answer in right} == dict.fromkeys(right, "correct"), kind
            assert [answer for answer in wrong if verify(answer, gold) == "correct"] == [], (kind, gold)


def test_a_text_is_itself():
    verify = RuleVerifier().verify
    for text in ("!", "...", "?", "\\)", "\\frac{1", "x = 15 is not a solution", "(a) 3 (b)", "，", "5 " * 3000):
        assert verify(text, text) == "correct", text[:20]


def test_what_is_too_long_to_read_is_undecided_at_once():
    verify = RuleVerifier().verify
    start = time.process_time()
    for piece in (
        "\\boxed{",
        "(",
        "x+1, ",
        "so it is 5. ",
        "not B ",
        "答案是",
        "- 5\n",
        "a) 3 ",
        "**",
        '{"answer": ',
        "A, ",
    ):
        text = piece * (200_000 // len(piece))
        assert verify("5", text) == "undecided"
        assert verify("5", "A", options=("5", text)) == "undecided"
        assert verify(text, "77") != "correct"
        for length in (500, 1990):
            assert verify(text[:length], "77") != "correct"
            verify(text[:length], "B", answer_type="choice", options=("1", "not B", "x"))
    assert time.process_time() - start < 20  # seconds of the processor; it takes two


def test_answers_are_found_under_every_mark():
    answers = {
        "So she has 18 left.\n#### 18": "18",
        "Answer - 5": "5",
        "*Answer*: 5": "5",
        "We get it.\n<answer>12</answer>": "12",
        '{"answer": "B"}': "B",
        "It is \\boxed 5": "5",
        "the answer is Dr. Smith": "Dr. Smith",
        "So the result is 5. The result of the other is 6.": "5",
        "The answer is:\n- 12": "12",
        "The values are 3 and 4. The answers are:\n- 3\n- 4": "3, 4",
        "x=3. The answer to the question of how many is therefore three.": "three",
        "The best answer is therefore A": "A",
        "The wrong answer is 4. The answer is 5.": "5",
        "Trees:\n- first: \\boxed{1}.\n- second: \\boxed{2}.\n\nIn total \\boxed{3} trees.": "3",
    }
    assert {response: extract_answer(response) for response in answers} == answers
