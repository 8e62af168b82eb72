"""Is an answer right? Correct, incorrect or undecided: rules first, each side read as a typed value."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "cleaning": ["clean_answer"],
        "extraction": ["extract_answer"],
        "values": ["Number", "read_value"],
        "verifier": ["RuleVerifier", "answers_equivalent", "group_answers"],
    },
)
