"""The final answer of a whole response: boxes, answer lines, phrases, last lines."""

import time

from mmprm_hf.answers import extract_answer


def test_the_last_box_line_phrase_or_line_is_the_answer():
    answers = {
        "3 + 4 = 7, so \\boxed{6}, no: \\boxed{\\frac{7}{1}}.": "\\frac{7}{1}",
        "It is \\boxed{\\text{7": "\\text{7",
        "Long story.\nAnswer: 12 cm\n": "12 cm",
        "Step 1: so.\n†Answer: \\frac{1}{2}": "\\frac{1}{2}",
        "She has 3 * 4 = 12.\nA: 12": "12",
        "The answer is 5. Wait. The answer is 3.5 cm. That is all.": "3.5 cm",
        "计算得到 30。\n答案是30。": "30",
        "所以故选B。": "B",
        "I count\n12 apples": "12 apples",
        " \n": None,
        "\\boxed{}": None,
    }
    assert {response: extract_answer(response) for response in answers} == answers


def test_loops_are_read_quickly():
    start = time.process_time()
    for text in ("answer ", "\n", "answer to ", "\\boxed{", "答案", "* ", "option is", "A: "):
        extract_answer(text * 20_000)
    assert time.process_time() - start < 5  # seconds of the processor; it takes less than one
