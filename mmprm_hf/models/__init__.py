"""The portable island: configuration, model and processor of the PRM. Nothing here imports the rest of the package."""

from transformers import AutoConfig, AutoModel, AutoProcessor

from .configuration_mm_prm import MMPRMConfig
from .modeling_mm_prm import MMPRMModel, MMPRMOutput
from .processing_mm_prm import MMPRMProcessor


def register() -> None:
    """Makes AutoConfig, AutoModel and AutoProcessor know the PRM; calling it again changes nothing."""
    AutoConfig.register(MMPRMConfig.model_type, MMPRMConfig, exist_ok=True)
    AutoModel.register(MMPRMConfig, MMPRMModel, exist_ok=True)
    AutoProcessor.register(MMPRMConfig, MMPRMProcessor, exist_ok=True)


__all__ = ["MMPRMConfig", "MMPRMModel", "MMPRMOutput", "MMPRMProcessor", "register"]
