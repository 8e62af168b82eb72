"""Published PRMs in our form: converters of their checkpoints."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "internvl": ["convert_internvl"],
    },
)
