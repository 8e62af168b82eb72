"""Free-form solutions to tagged steps by an endpoint model, with checks that their content survives."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "checks": ["CheckConfig"],
        "corpus": ["JOURNAL", "SUMMARY", "write_corpus"],
        "journal": ["ReplyJournal"],
        "prompt": ["prompt_identity"],
        "report": ["compare", "format_report", "summarise"],
        "rows": ["FreeFormRow", "Outcome"],
        "run": ["RestructureConfig", "restructure"],
    },
)
