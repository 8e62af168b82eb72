"""Response text <-> steps and answer: one file per step format."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "tagged": [
            "DEFAULT_STEP_FORMAT",
            "ParsedResponse",
            "StepFormat",
            "parse_open_step",
            "parse_response",
            "render_prefix",
            "render_solution",
        ],
    },
)
