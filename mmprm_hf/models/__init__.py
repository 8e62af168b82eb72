"""The portable island: configuration, model and processor of the PRM.

Files named ``*_mm_prm.py`` are copied into checkpoints and import only each other.
"""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "checks_mm_prm": ["check_causal", "input_device", "text_inputs"],
        "configuration_mm_prm": ["MMPRMConfig"],
        "encoding_mm_prm": ["is_list_of_solutions", "pad_rows"],
        "fingerprints": ["model_fingerprint", "processor_fingerprint"],
        "heads_mm_prm": ["IGNORE_LABEL", "marker_loss", "marker_losses"],
        "fetching_mm_prm": ["fetch"],
        "figure_sources_mm_prm": ["figure_source", "holds_image", "is_address", "is_figure", "named_figure"],
        "images_mm_prm": ["figure_size", "image_format", "load_image", "upright"],
        "loading_mm_prm": ["start_of_adapter"],
        "modeling_mm_prm": ["MMPRMModel", "MMPRMOutput"],
        "places_mm_prm": ["PLACEHOLDER", "chat_content", "figures_lead", "join_parts", "split_question"],
        "policy_mm_prm": ["backbone_of", "prepare_marker_row"],
        "processing_mm_prm": ["MMPRMProcessor"],
        "prompts_mm_prm": ["PROMPT_FORMATS", "PromptFormat"],
        "stock_mm_prm": ["cache_argument"],
        "tiled_processing_mm_prm": ["MMPRMTiledProcessor", "tiling_image_processor"],
    },
)
__all__ += ["register"]


def register() -> None:
    """Register the PRM with AutoConfig, AutoModel and AutoProcessor; calling it again changes nothing."""
    from transformers import AutoConfig, AutoModel, AutoProcessor

    from .configuration_mm_prm import MMPRMConfig
    from .modeling_mm_prm import MMPRMModel
    from .processing_mm_prm import MMPRMProcessor

    AutoConfig.register(MMPRMConfig.model_type, MMPRMConfig, exist_ok=True)
    AutoModel.register(MMPRMConfig, MMPRMModel, exist_ok=True)
    AutoProcessor.register(MMPRMConfig, MMPRMProcessor, exist_ok=True)
