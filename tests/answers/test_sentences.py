"""Sentences: what asserts a value states it; what only mentions one, in whatever words, never does."""

from mmprm_hf.answers import RuleVerifier

GOLDS = ["5", "12", "48", "7.5", "1,200"]
MENTIONS = """
    It is divisible by {}.|The answer is half of {}.|The answer is twice {}.|The answer is the square root of {}.
    It is greater than or equal to {}.|The value exceeds {}.|The value does not exceed {}.|It is a multiple of {}.
    The answer is a factor of {}.|{} is wrong.|{} is incorrect.|{} is too small.|{} fails.|{} must be rejected.
    The answer is {}, which is wrong.|x = {} (extraneous)|{} (rejected)|the reciprocal of {}|the opposite of {}
    base {}|It is written in base {}.|It is increased by {}.|It is {} to 90 meters.|The answer is {} times x.
    {} times x|{} minus x|{} divided by 7|the power of {}|The answer is a power of {}.|Step {}|Step {}: add both sides.
    It is the case that {} is ruled out.|The probability of {}|Anything but {}.|All numbers except {}.|It is not {}.
    The answer isn't {}.|It cannot be {}.|The answer could be {}.|It might be {}.|Perhaps {}.|If it is {}, all is well.
    If x = {}, then y = 99.|Suppose the answer is {}.|Assume that x is {}.|Unless it is {}, we are done.
    The answer is close to {}.|The answer is less than {}.|There are at least {} of them.|There are at most {} of them.
    There are more than {} apples.|There are fewer than {} apples.|There are up to {} apples.|There are {} more apples.
    They need {} more hours.|They have {} fewer apples.|It costs {} dollars more.|{} of them are red|{} is a root of it
    The wrong answer is {}.|The incorrect value is {}.|A common mistake is {}.|One guess is {}.|My first guess was {}.
    The answer to the other problem is {}.|The answer to the previous question is {}.|The rejected root is {}.
    The sum of the digits is {}, so the number is 99.|The base is {} and the answer is 99.|He says it is {}.
    The answer is {} or 99.|The answer is between {} and 99.|The answer is {} plus 3.|The answer is {} less than 99.
    The answer is {}? No, it is 99.|First I thought it is {}. Then I found 99.|I was told {}.|{} is what I had before.
    The remainder mod {} is 99.|99 is bigger than {}.|15 is a multiple of {} and 3.|The {}th term is 99.|the {}th term
    Is it {}?|The answer should be {} but it is 99.|We can exclude {}.|x is not {}.|x never equals {}.|no more than {}
    The trap is {}.|The distractor is {}.|The answer is no longer {}.|It is not the case that x = {}.|without {}
    {} is a common mistake|{} does not work|{} does not satisfy the equation|The hypothetical value is {}.
    The answer is {}. This is wrong.|The answer is {}. But that is false.|So x = {}. However, x = 99.
    The result would be {} if we doubled it.|The answer, unlike {}, is 99.|It is roughly {}.|It is nearly {}.
    There were {} at first.|Initially there were {} apples.|They already have {} apples.|They have {} apples each.
    She paid {} too much.|He owes {} times that.|He gets {} wrong.|There are {} in each box.
    He had {} before.|We are {} short.
    Let x = {}|Try x = {}.|For x = {}, y = 99.|So far x = {}.|Hence the guess x = {}|His answer is {}.
    Tom's answer is {}.
    The negative of the answer is {}.|The answer in base 7 is {}.|The answer is {}. The answer is 99.
    The answer has {} digits.
    每人有{}个|已经有{}个|它的倒数是{}|指数是{}|小明的答案是{}
    {}的倍数|{}倍|{}折|{}以上|{}以下|{}左右|第{}|{}个以上|至少{}|负{}|{}分之一|{}成|除以{}|超过{}个|不足{}|不等于{}|不是{}
    {}的平方|{}的一半|{}的相反数|小于{}|大于{}|大约{}|答案不是{}|如果答案是{}|假设x等于{}|{}是错的|错误答案是{}|可能是{}
    答案是{}的两倍|比{}多|比{}少|{}舍去|除了{}|{}除以3|x不等于{}|至多有{}个|最多{}个|原来有{}个|另一个答案是{}
"""
ASSERTIONS = """
    The answer is {}.|So the answer is {}.|Therefore, the answer is {}.|Thus x = {}.|Hence x = {}.|It is {}.|It's {}
    Therefore, the value of $x$ is {}.|Therefore, the area is {}.|The final answer is {}.|The result is {}.|x is {}
    The total is **{}**.|Thus, the sum of both numbers is {}.|So there are {} apples.|There are {} apples in total.
    There are {} ways to do it.|They need {} hours.|Tom has {} apples left.|So she paid {} dollars in total.
    Therefore ${}$ is the answer.|Hence, the length of $AB$ is ${}$.|In conclusion, the perimeter is {}.
    Therefore, {} workers are needed.|So it takes {} hours.|We get 3 + 4 = 7. Therefore, the total is {}.
    Since all sides are equal, the perimeter is {}.|The greatest possible value is {}, as required.
    Dexter will have {} pounds of feed left.|They now have {} apples.
    So there are 3 boys + 4 girls = 7 children. Therefore, {} chairs are needed.
    In total, she spent ${}.|He pays ${} a year.
    答案是{}|答案为{}。|所以答案是{}。|因此，面积是{}。|所以一共有{}个苹果。|共{}个|故答案为{}|所以他有{}颗糖。
"""


def filled(templates: str):
    """Every template of a table with every gold in its place."""
    for line in filter(None, map(str.strip, templates.replace("\n", "|").split("|"))):
        yield from ((line.replace("{}", gold), gold) for gold in GOLDS)


def test_no_sentence_that_mentions_the_gold_states_it():
    verify = RuleVerifier().verify
    assert [pair for pair in filled(MENTIONS) if verify(*pair) == "correct"] == []


def test_sentences_that_assert_the_gold_state_it():
    verify = RuleVerifier().verify
    pairs = list(filled(ASSERTIONS))
    verdicts = [str(verify(*pair)) for pair in pairs]
    assert [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict == "incorrect"] == []
    assert verdicts.count("correct") >= 0.95 * len(pairs)


def test_sums_in_sentences_are_computed():
    verify = RuleVerifier().verify
    for answer in (
        "So she has 22 red + 66 blue = 88 balls.",
        "It costs $40 + $48 = $88.",
        "There are 100 - 12 = 88 of them.",
    ):
        assert verify(answer, "88") == "correct" and verify(answer, "77") == "incorrect", answer
    for answer in ("So she has 22 red + 65 blue = 88 balls.", "There are 11 * 7 = 88 of them."):
        assert verify(answer, "88") == "undecided", answer


def test_sentences_that_assert_another_value_are_never_right():
    verify = RuleVerifier().verify
    assert [answer for answer, _ in filled(ASSERTIONS) if verify(answer, "77") != "incorrect"] == []


def test_reasons_and_places_behind_a_value_are_not_the_value():
    verify = RuleVerifier().verify
    for answer, right, wrong in (
        ("x + 3 = 10, so x = 7", "7", "10"),
        ("The minimum of f is 19, attained at x = 2.", "19", "2"),
        ("The only solution is x = 2, since x = -1 makes the denominator zero.", "x=2", "-1"),
        ("It is 5 because 5 is half of 10", "5", "10"),
        ("The area of the triangle with sides 3, 4, 5 is 6", "6", "3"),
        ("因此，这件衣服的原价是150元。", "150", "15"),
        ("一共有36名学生。", "36", "6"),
        ("答：小明还剩12个苹果。", "12", "2"),
        ("综上所述，最小值为19。", "19", "9"),
    ):
        assert verify(answer, right) == "correct" and verify(answer, wrong) == "incorrect", answer


def test_what_is_not_read_is_never_called_wrong_where_it_names_the_gold():
    verify = RuleVerifier().verify
    for answer in (
        *("5天后一共读了96页。", "8排每排12个，共有96个座位。", "小明的答案是96。"),
        *("小红认为是96。", "正确答案是96，而不是69。", "Elvis is 96 miles east of his house."),
    ):
        assert verify(answer, "96") == "undecided", answer
