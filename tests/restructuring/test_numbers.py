r"""The numbers of a solution: writings of one number, other numbers, labels and prose that state none."""

from mmprm_hf.restructuring.numbers import missing_numbers, read_numbers

SAME = [
    (r"\frac{3}{4}", "3/4"),
    (r"\dfrac34", r"\frac{3}{4}"),
    (r"\frac{3}{4}", r"3 \div 4"),
    ("0.75", "3/4"),
    ("1,200", "1200"),
    (r"1{,}200 and 1\,200", "1 200"),
    ("100,200,300", "100, 200, 300"),
    ("3，500，600", "3, 500, 600"),
    ("it is 1,200, and", "1200"),
    ("50%", r"50\%"),
    ("50%", "0.5"),
    ("50 percent", "50％"),
    ("0.50", ".5"),
    ("１２．５", "12.5"),
    ("三十五", "35"),
    ("二〇二五年", "2025"),
    ("一万零十", "10010"),
    ("三分之二", r"\frac{2}{3}"),
    ("百分之三十", "30%"),
    ("3万", "30000"),
    ("两百零五", "205"),
    ("forty-two", "42"),
    ("two hundred and five", "205"),
    ("a hundred", "100"),
    ("between two three hundred and five", "305"),
    ("twelve percent", "0.12"),
    (r"3.2\times 10^{5}", "320000"),
    (r"3.2\times10^5", "3.2 × 10⁵"),
    ("5 cm²", "5 cm^2"),
    (r"\sqrt2", "√2"),
    ("3x4", r"3 \times 4"),
    (r"$x=5$ \text{ cm}", "x = 5 cm"),
    ("½", r"\frac12"),
    ("٣ apples", "3 apples"),
]
DIFFERENT = [
    ("3/4", "3/5"), ("1,200", "1,300"), ("0.5", "0.05"), ("三十五", "三十六"), ("x^2", "x^3"), ("12", "1 and 2"),
    ("3万", "4万"), ("forty-two", "43"),
]  # fmt: skip
LABELS_AND_PROSE = [
    "Step 1: draw", "**Step 12.** draw", "steps 1 and 2", "1. Draw\n2. Measure\n 3) Add", "(1) Draw", "第1步：画",
    "第一步", "步骤2：画", "①由②得", r"a=b \tag{3}", "Figure 3 and Fig. 4, equation (2)", "如图2所示",
    "<image_1> ![plot](plots/12.png)", r"\begin{aligned} a\\[4pt] b\end{aligned}\hspace{2cm}", "x_1 + x_{12} and A1",
    "one of the two sides", "一个三角形, 一一对应, 十分, 千万",
]  # fmt: skip


def test_two_writings_of_a_number_state_the_same():
    for first, second in SAME:
        numbers = read_numbers(first), read_numbers(second)
        assert all(texts.stated for texts in numbers), (first, second)
        assert not missing_numbers(*numbers) and not missing_numbers(*reversed(numbers)), (first, second)


def test_other_numbers_are_missing():
    for first, second in DIFFERENT:
        numbers = read_numbers(first), read_numbers(second)
        assert missing_numbers(*numbers) and missing_numbers(*reversed(numbers)), (first, second)


def test_labels_and_prose_state_no_number():
    assert {text: read_numbers(text).stated for text in LABELS_AND_PROSE} == dict.fromkeys(LABELS_AND_PROSE, ())


def test_a_label_supports_nothing_and_an_index_does():
    assert missing_numbers(read_numbers("7 apples"), read_numbers("Step 7: count"))
    assert not missing_numbers(read_numbers("12 and 1"), read_numbers("x_1 + x_{12}"))
    assert not missing_numbers(read_numbers("2 sides"), read_numbers("the two sides"))
    assert not missing_numbers(read_numbers("2/3 and 3/4"), read_numbers("two thirds and three quarters"))
    assert [mention.text for mention in read_numbers("1. 5+3=8").stated] == ["5", "3", "8"]
    assert [mention.text for mention in read_numbers("2.5 m\n(2)(3)=6").stated] == ["2.5", "2", "3", "6"]
