"""The portable island: configuration, model and processor of the PRM. Nothing here imports the rest of the package.

Names are loaded when they are first used, so that the island's torch-free files can be imported alone.
"""

import importlib

_PUBLIC = {
    "MMPRMConfig": ".configuration_mm_prm",
    "MMPRMModel": ".modeling_mm_prm",
    "MMPRMOutput": ".modeling_mm_prm",
    "MMPRMProcessor": ".processing_mm_prm",
}

__all__ = [*_PUBLIC, "register"]


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(_PUBLIC[name], __name__), name)
    globals()[name] = value
    return value


def register() -> None:
    """Makes AutoConfig, AutoModel and AutoProcessor know the PRM; calling it again changes nothing."""
    from transformers import AutoConfig, AutoModel, AutoProcessor

    from .configuration_mm_prm import MMPRMConfig
    from .modeling_mm_prm import MMPRMModel
    from .processing_mm_prm import MMPRMProcessor

    AutoConfig.register(MMPRMConfig.model_type, MMPRMConfig, exist_ok=True)
    AutoModel.register(MMPRMConfig, MMPRMModel, exist_ok=True)
    AutoProcessor.register(MMPRMConfig, MMPRMProcessor, exist_ok=True)
