"""Is an answer right? Correct, incorrect or undecided: rules first, each side read as a typed value."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "cleaning": ["clean_answer"],
        "extraction": ["extract_answer", "final_answer", "split_answer_line"],
        "math_verify_peer": ["MathVerifyVerifier"],
        "numerals": [
            "CHINESE_DIGITS",
            "CHINESE_SCALES",
            "NUMBER_WORDS",
            "SCALE_WORDS",
            "chinese_value",
            "read_number_words",
        ],
        "values": ["Number", "read_value"],
        "verifier": ["RuleVerifier"],
        "voting": ["answers_equivalent", "group_answers"],
    },
)
