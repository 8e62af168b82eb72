"""Free-form solutions to tagged steps by a chat model behind a server, with checks that their content survives."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "config": ["CheckConfig", "RestructureConfig"],
        "corpus": ["JOURNAL", "SUMMARY", "write_corpus"],
        "journal": ["ReplyJournal"],
        "prompt": ["prompt_identity"],
        "report": ["compare", "format_report", "summarise"],
        "rows": ["FreeFormRow", "FreeFormRows", "Outcome"],
        "run": ["restructure"],
    },
)
