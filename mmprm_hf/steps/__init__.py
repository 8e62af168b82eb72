"""Response text <-> steps and answer: one file per step format, and the one that finds out which a policy writes."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "faults": ["NOT_RECORDED", "count_faults", "fault_words"],
        "formats": [
            "AUTO",
            "STEP_FORMATS",
            "FormatChoice",
            "choose_step_format",
            "read_solution",
            "read_step_format",
        ],
        "numbered": ["NUMBERED", "NumberedFormat"],
        "plain": ["LINES", "PARAGRAPHS", "LineFormat", "ParagraphFormat"],
        "protocol": ["CUT", "FAULTS", "MALFORMED", "NO_ANSWER", "STEP_END", "ParsedResponse", "StepFormat"],
        "solutions": ["solution_steps"],
        "tagged": ["TAGGED", "TaggedFormat"],
        "thoughts": ["empty_rest_of_thought", "opened_thought", "split_thought"],
    },
)
