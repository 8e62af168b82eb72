"""Kinds of values, each with answers that say the same, that say something else, and that cannot be told."""

import time

import pytest

from mmprm_hf.answers import RuleVerifier

KINDS = {  # (gold, right answers, wrong ones, undecided ones)
    "a word behind a number is a noun, a fraction, a scale, or no unit": [
        ("5/6", ["5 sixths", "five sixths"], ["5", "6 fifths"], []),
        ("5/12", ["five twelfths", "5 twelfths"], ["5"], []),
        ("7/100", ["7 hundredths"], ["7", "700"], []),
        ("25", ["5 squared"], ["5", "5 cubed"], []),
        ("2000000000000", ["2 trillion"], ["2", "2 billion"], []),
        ("200000", ["2 lakh"], ["2"], []),
        ("100", ["5 score"], ["5"], []),
        ("6", ["half a dozen"], ["12"], []),
        ("5 apples", ["5", "five apples", "5 apple"], ["6 apples", "5 squared"], ["5 oranges"]),
    ],
    "symbols of units have upper and lower case": [
        ("10 MHz", ["10000 kHz", "10 megahertz"], ["10 mHz", "10 kHz"], []),
        ("5 MPa", ["5000 kPa", "5 N/mm^2"], ["5 mPa", "5 GPa"], []),
        ("3 MeV", ["3000 keV"], ["3 meV", "3 eV"], []),
        ("2.5 kΩ", ["2500 Ω", "2.5\\ \\mathrm{k\\Omega}", "2500 ohms"], ["2.5 Ω", "2.5 mΩ"], []),
        ("5 µm", ["0.005 mm", "5\\,\\mu\\mathrm{m}"], ["5 m", "5 mm"], []),
        ("4 MW", ["4 megawatts", "4000 kW"], ["4 mW", "4 W", "4 MWh"], []),
        ("2 A", ["2 amperes", "2 amps", "2000 mA"], ["2 mA", "2 V"], ["2"]),
    ],
    "units are products, powers and quotients of units": [
        ("9.8 m/s^2", ["9.8 m s^{-2}", "9.8 meters per second squared", "9.8", "9.8 m/s/s"],
         ["9.8 m/s", "9.8 cm/s^2"], []),
        ("4 kg·m/s", ["4 kg m/s", "4 \\mathrm{kg\\cdot m/s}"], ["4 kg/s", "4 kg·m", "4 kg·m/s^2"], []),
        ("5 N/m^2", ["5 Pa"], ["5 N/m", "5 kPa"], []),
        ("5 kg/m^3", ["5 g/L"], ["5 kg/m^2"], []),
        ("8 cm^3", ["8 mL", "8 cc", "8 cubic centimeters", "8 cm³"], ["8 cm^2", "8 m^3"], []),
        ("10 Hz", ["10 s^{-1}"], ["10 s", "10 kHz"], []),
        ("4.2 J/(g·°C)", ["4.2 J/(g·°C)"], ["4.2 kJ/(g·°C)", "4.2 J/(kg·°C)"], []),
        ("45 units^2", ["45"], ["45 units^3", "45 units^9"], []),
        ("2x cm", ["2x", "2x cm"], ["3x cm", "2x m"], []),
    ],
    "compounds are sums of one dimension": [
        ("3 hours 20 minutes", ["200 minutes", "3 h 20 min", "3 hrs 20 mins", "3\\frac13 hours"],
         ["3 hours 2 minutes"], []),
        ("-38 in", ["-3 ft 2 in"], ["-34 in", "3 ft 2 in"], []),
        ("30^\\circ 15'", ["30.25°", "30 degrees 15 minutes"], ["30°16'", "15°30'", "30.15°"], []),
        ("30 rad", ["30 radians"], ["30°"], []),
    ],
    "currencies are units": [
        ("$12.50", ["12.50 dollars", "\\$12.5", "1250 cents", "12 dollars 50 cents"],
         ["€12.50", "£12.50", "12.50 cents"], []),
        ("€20", ["20 euros", "20€", "20"], ["$20", "£20", "20 dollars"], []),
        ("£7.20", ["7.20 pounds"], ["$7.20", "7.20 lb"], []),
        ("75 cents", ["$0.75", "75¢"], ["$75", "0.75 cents"], []),
        ("¥100", ["¥100.0", "100"], ["$100"], ["100 yuan", "100 yen"]),
        ("\\$1.2 million", ["\\$1,200,000"], ["\\$1.2", "\\$1.2 billion"], []),
        ("\\$5 per hour", ["5 dollars per hour", "\\$5/hour"], ["\\$5 per day"], []),
        ("\\$5\\frac12", ["5.5 dollars"], ["€5.50"], []),
    ],
    "raised, lowered and circled characters keep their places": [
        ("2^n", ["2ⁿ"], ["2n"], []),
        ("2n", [], ["2ⁿ"], []),
        ("a_n", ["aₙ"], [], []),
        ("\\log_2 8", ["log₂8", "3"], ["\\log 28"], []),
        ("6.02×10²³", ["6.02e23", "6.02\\times10^{23}"], ["6.02×10⁻²³", "6.02×1023"], []),
        ("12", [], [], ["①②"]),
    ],
    "an ellipsis goes on": [
        ("0.1666...", ["1/6", "0.1\\overline{6}", "0.1(6)"], ["0.1666", "0.16"], []),
        ("0.\\overline{36}", ["4/11", "0.\\dot{3}\\dot{6}", "0.(36)", "0.363636..."], ["0.36", "0.3\\overline{6}"], []),
        ("1", ["0.999..."], ["0.999"], []),
        ("1, 2, 3, ...", ["1, 2, 3, …"], ["1, 2, 3", "2, 3, 4, ..."], []),
    ],
    "signs between digits are read": [
        ("10^{300}", ["10 ** 300", "10**300"], ["10300"], []),
        ("0x3F", ["3F_{16}", "3f_{16}"], ["3E_{16}", "0"], ["63"]),
        ("1011_2", ["1011₂", "(1011)_2", "1011 base 2"], ["1011_3", "1010_2"], ["1011", "11"]),
        ("5, 100", ["5,\\,100"], ["5100"], []),
        ("5100", ["5,\\!100", "5\\,100"], ["5, 100"], []),
        ("2\\sqrt{3}", ["(2) \\sqrt{3}"], ["\\sqrt{3}"], []),
        ("3/5/2021", ["3/5/2021"], [], []),
    ],
    "letters before brackets are names": [
        ("A(1,2)", ["(1,2)", "A(1, 2)"], ["B(1,2)", "A(2,1)"], []),
        ("C(5,2)", [], ["P(5,2)", "11"], ["(5,2)", "10", "\\binom{5}{2}"]),
        ("N(0,1)", ["N(0, 1)"], ["U(0,1)", "N(1,0)"], ["(0,1)"]),
        ("O(n)", ["O(n)"], ["n", "\\Theta(n)"], []),
        ("{1,2}", ["{2,1}", "1, 2"], ["(1,2)", "{1,3}"], []),
        ("\\{\\{0\\}\\}", [], ["\\{1\\}", "\\{0\\}"], []),
        ("\\emptyset", ["∅", "empty set", "\\varnothing"], ["\\{\\emptyset\\}", "\\{0\\}", "0"], []),
    ],
    "a chain is whole": [
        ("a=b=3", ["3=a=b", "b=a=3"], ["a=b=4"], []),
        ("AB=CD=5", ["CD=AB=5"], ["AB=EF=5"], []),
        ("x=3", ["x = 1+2 = 3"], [], ["x = y-1 = 3", "x = 4 = 3"]),
        ("9\\pi", ["A = \\pi r^2 = 9\\pi"], ["A = \\pi r^2 = 8\\pi"], []),
        ("a<b<c", ["c>b>a"], ["a<c<b", "c<b<a", "a>b>c"], []),
    ],
    "an equation is not its right side": [
        ("12", ["x = 12", "AB = 12"], ["3x+4y = 13"], ["3x+4y = 12", "xy = 12"]),
        ("x+2y=10000000000", ["2x+4y=20000000000"], ["x+2y=10000000001"], []),
        ("\\sin x = \\frac12", [], [], ["\\frac12"]),
    ],
    "relations keep their units and joints": [
        ("less than 20 years", ["less than 20 years"], ["less than 20 months", "more than 20 years"], ["less than 20"]),
        ("at least 5 kg", ["\\ge 5 kg", "at least 5000 g"], ["at least 5 g", "at most 5 kg"], []),
        ("5 or more", ["\\ge 5"], ["more than 5", "5 or less"], []),
        ("x>2 and y<3", ["y<3 and x>2", "x>2, y<3"], ["x>2 or y<3"], []),
        ("x=1 and y=2", ["y=2, x=1"], ["x=1 or y=2"], []),
        ("a=1, b=2 or a=3, b=4", ["a=3, b=4 or a=1, b=2"], ["a=1, b=4 or a=3, b=2"], []),
        ("4 boys and 6 girls", ["6 girls and 4 boys"], ["4 boys or 6 girls", "4 girls and 6 boys"], []),
        ("x = 2 or x = 3", ["2 and 3", "x=3, x=2"], ["2 or 4"], []),
        ("x_1=2, x_2=3", ["x_1=2 and x_2=3"], ["x_1=2, x_2=4"], ["x_1=3, x_2=2"]),
    ],
    "regions in any notation": [
        ("|x-2|\\le 5", ["-3\\le x\\le 7", "[-3,7]"], ["[-7,3]", "(-3,7)"], []),
        ("\\mathbb{R}", ["(-\\infty,\\infty)", "all real numbers", "ℝ"], ["(0,\\infty)"], []),
        ("x\\ne 1", ["\\mathbb{R}\\setminus\\{1\\}", "(-\\infty,1)\\cup(1,\\infty)"], ["x=1", "x\\ne 2"], []),
        ("x>5", ["大于5", "5<x"], ["小于5", "x\\ge 5"], []),
    ],
    "times and ratios": [
        ("12:30 AM", ["0:30"], ["12:30 PM", "12:30"], []),
        ("4 pm", ["4 PM", "16:00", "4:00 p.m."], ["4 am", "4 p m"], ["4"]),
        ("12:00 noon", ["12 noon", "noon", "12:00 PM"], ["midnight", "12:00 AM"], []),
        ("12:00", ["12:00"], ["52:00", "12:10"], []),
        ("1:20", ["1:20"], ["1:2"], ["2:40"]),
        ("2:1", ["4:2", "2 to 1"], ["2:01", "1:2"], ["2"]),
        ("3/4", ["3:4", "3 out of 4"], ["4:3"], []),
    ],
    "points name angles, triangles and vectors": [
        ("\\angle ABC=50", ["\\angle CBA=50", "m\\angle ABC = 50"], ["\\triangle ABC=50", "\\angle ACB=50"], []),
        ("\\vec{AB}+\\vec{c}", ["\\vec{c}+\\overrightarrow{AB}"], ["\\vec{BA}+\\vec{c}"], []),
        ("\\vec{a}\\times\\vec{b}", ["\\vec{a} \\times \\vec{b}"],
         ["\\vec{b}\\times\\vec{a}", "\\vec{a}\\cdot\\vec{b}"], []),
        ("\\Delta p=2", ["2"], ["\\Delta P=2"], []),
    ],
    "letters without a vowel are a product": [
        ("mgh", ["ghm", "m g h"], ["mgH", "mg/h"], []),
        ("cat", [], ["act"], []),
        ("λ", ["\\lambda"], ["\\Lambda", "\\mu"], []),
    ],
    "congruences have a modulus": [
        (
            "x\\equiv 3 \\pmod 7",
            ["x \\equiv 3 \\bmod 7", "x\\equiv 3\\ (\\text{mod } 7)", "x\\equiv 10 \\pmod 7"],
            ["x\\equiv 4\\pmod 7", "x\\equiv 3\\pmod 8"],
            ["3"],
        ),
    ],
    "vectors in another form": [
        ("(1,2,3)", ["\\langle 1,2,3\\rangle"], ["\\begin{pmatrix}1\\\\3\\\\2\\end{pmatrix}"],
         ["\\begin{pmatrix}1\\\\2\\\\3\\end{pmatrix}"]),
        ("[[1,2],[3,4]]", [],
         ["\\begin{pmatrix}1&3\\\\2&4\\end{pmatrix}"], ["\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}"]),
    ],
    "decimals round to what is exact": [
        ("\\frac{\\sqrt3}{3} \\approx 0.577", ["0.577", "\\frac{1}{\\sqrt3}"], ["0.578"], []),
        ("\\pi", ["3.14", "3.1416", "3.141592653589793"], ["3.15", "3.1417", "355/113"], ["3.1415926535897931"]),
        ("6.41 × 10^-22 g", ["6.41e-22 g"], ["3 × 10^-23 g", "6.41 × 10^-23 g"], []),
        ("0.5\\%", ["0.005"], ["50 %", "5 %"], ["0.5"]),
        ("\\frac{5}{9}\\cdot 100 = 55.56\\%", ["55.56 %"], [], ["\\frac{5}{6}\\cdot 100 = 55.56\\%"]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_value_has_the_right_verdict(kind):
    verify = RuleVerifier().verify
    for gold, *answers_by_verdict in KINDS[kind]:
        for answers, expected in zip(answers_by_verdict, ("correct", "incorrect", "undecided"), strict=True):
            assert {answer: str(verify(answer, gold)) for answer in answers} == dict.fromkeys(answers, expected), gold


def test_the_comparison_of_values_is_reflexive_and_symmetric():
    verify = RuleVerifier().verify
    for rows in KINDS.values():
        for gold, right, wrong, undecided in rows:
            assert verify(gold, gold) == "correct", gold
            for answer in right:
                assert verify(gold, answer) != "incorrect", (gold, answer)
            for answer in (*wrong, *undecided):
                assert verify(gold, answer) != "correct", (gold, answer)


def test_nested_sets_sums_and_boxes_cost_little():
    texts = [
        "{" * 28 + "1" + "}" * 28,
        "\\sum_{i=1}^{99} \\sum_{j=1}^{99} \\sum_{k=1}^{99} \\sqrt{i+j+k}",
        "\\boxed{" * 9000,
    ]
    start = time.process_time()
    for text in texts:
        RuleVerifier().verify(text.replace("1", "2", 1), text)
    assert time.process_time() - start < 10  # seconds of the processor; it takes less than two
