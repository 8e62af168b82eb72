"""Rollout engines: what writes text. One async method, ``generate(requests) -> rollouts``, order kept."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "chat": ["ChatModel"],
        "chat_client": ["ChatClient"],
        "endpoint": ["EndpointEngine"],
        "images": ["FigureParts", "image_part", "message_content", "question_parts"],
        "in_process": ["TransformersEngine"],
        "policies": ["load_policy", "reads_figures"],
        "policy_format": ["INSTRUCT"],
        "requests": ["RolloutEngine", "RolloutRequest", "SamplingConfig"],
        "running": ["gather_or_cancel", "run_async"],
    },
)
