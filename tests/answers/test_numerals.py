"""Number words and Chinese numerals: values, digits, and what stays as it is."""

import time

from support.hostile_texts import HOSTILE_TEXTS

from mmprm_hf.answers import CHINESE_DIGITS, NUMBER_WORDS, SCALE_WORDS, chinese_value, read_number_words
from mmprm_hf.answers.numerals import chinese_to_symbols, words_to_digits


def english(number: int) -> str:
    """A number in words."""
    small = {value: word for word, value in NUMBER_WORDS.items()}
    for word, scale in sorted(SCALE_WORDS.items(), key=lambda pair: -pair[1]):
        if number >= scale:
            rest = f" {english(number % scale)}" if number % scale else ""
            return f"{english(number // scale)} {word}{rest}"
    return small.get(number) or f"{small[number // 10 * 10]} {small[number % 10]}"


def chinese(number: int) -> str:
    """A numeral below ten thousand, without 零 for the places that are left out."""
    digits = {value: character for character, value in CHINESE_DIGITS.items() if character not in "〇两"}
    scales = ((1000, "千"), (100, "百"), (10, "十"), (1, ""))
    return "".join(digits[number // scale % 10] + name for scale, name in scales if number // scale % 10)


def test_every_number_in_words_has_its_value():
    for number in [*range(1200), 9_999, 10_000, 320_006, 7_000_000, 4_000_123_456]:
        words = english(number).split()
        assert read_number_words(words) == (number, len(words)), words
        assert words_to_digits(" ".join(words)) == str(number)
    for number in range(1, 10_000, 7):
        assert chinese_value(chinese(number)) == number


def test_a_number_ends_where_the_words_do_not_go_on_with_it():
    reads = {
        "two hundred and five apples": (205, 4),
        "two three": (2, 1),
        "twenty thirty": (20, 1),
        "forty two one": (42, 2),
    }
    reads |= {"three hundred and": (300, 2), "and five": (0, 0), "hundred": (0, 0), "apples": (0, 0), "": (0, 0)}
    assert {text: read_number_words(text.split()) for text in reads} == reads


def test_chinese_numerals_have_their_values():
    values = {"十": 10, "十五": 15, "三百零五": 305, "二〇二五": 2025, "两百": 200, "三万二千": 32_000, "万": 10_000}
    values |= {"一万零十": 10_010, "千": 1000}
    assert {numeral: chinese_value(numeral) for numeral in values} == values


def test_number_words_become_digits():
    digits = {
        "twenty-one apples": "21 apples",
        "one hundred and five": "105",
        "three hundred twenty thousand and six": "320006",
        "two-thirds": "2/3",
        "one and a half": "3/2",
        "a quarter": "1/4",
        "三分之二": "2/3",
        "百分之二十五": "25 percent",
        "一又二分之一": "3/2",
        "一百零五": "105",
        "二〇二四": "2024",
        "十": "10",
        "一万零十": "10010",
        "一亿零三万": "100030000",
        "one thousand million apples": "1000000000 apples",
    }
    assert {words: words_to_digits(words) for words in digits} == digits


def test_other_words_stay():
    for text in ("two three", "twenty thirty", "a dog", "half of it", "second", "no", "万", "两三", "A"):
        assert words_to_digits(text) == text


def test_chinese_units_and_joints_become_symbols():
    texts = ["5平方厘米", "12 千米/小时", "2小时30分钟", "3比4", "1和2", "1.5万", "5米长", "7个"]
    symbols = ["5 square cm", "12 km/h", "2 h 30 min", "3:4", "1 and 2", "15000", "5米长", "7个"]
    assert [chinese_to_symbols(text) for text in texts] == symbols


def test_hostile_text_costs_little():
    start = time.process_time()
    for text in HOSTILE_TEXTS:
        words_to_digits(text)
        chinese_to_symbols(text)
    assert time.process_time() - start < 5  # seconds of the processor; it takes less than one
