"""Published PRMs as PRMs of this package: converters of their checkpoints."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "internvl": ["convert_internvl", "convert_internvl_model", "convert_internvl_processor"],
    },
)
