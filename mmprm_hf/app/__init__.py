"""The page in the browser, and the Hugging Face Space that serves it."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "page": ["Callbacks", "build_app", "launch"],
        "space": ["write_space"],
    },
)
