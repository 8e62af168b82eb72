"""What a training starts from: the PRM and its processor out of whatever the user gave, and its adapter."""

from __future__ import annotations

import copy
import logging
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..models import MMPRMConfig, MMPRMModel, MMPRMProcessor, prepare_marker_row, register
from .prm_config import PRMConfig

logger = logging.getLogger(__name__)


def model_and_processor(
    model: Any, processing_class: Any, args: PRMConfig, *, dtype: str = "float32"
) -> tuple[PreTrainedModel, MMPRMProcessor]:
    """The PRM and its processor.

    Args:
        model: A PRM; a policy, from which the PRM is built; a token classifier with two labels over a causal decoder,
            as TRL's trainer took it (its head becomes the PRM's); or a path or hub id of a PRM or a policy.
        processing_class: The PRM's processor, or the policy's processor or tokenizer; None loads it from the path.
        args: Names the marker and the two tokens of a PRM that is built.
        dtype: Of a PRM loaded from a path, "auto" for the checkpoint's own.

    Raises:
        ValueError: for a model object without its processor, or one that cannot be or become a PRM.
    """
    if not isinstance(model, (str, os.PathLike)):
        return _from_object(model, processing_class, args)
    if (Path(model) / "adapter_config.json").exists():
        raise ValueError(
            f"{str(model)!r} is an adapter. Give its base, and a peft_config for a new one; or merge it first "
            "(PeftModel.from_pretrained(base, adapter).merge_and_unload()) and give the model."
        )
    register()
    is_prm_processor = isinstance(processing_class, MMPRMProcessor)
    if AutoConfig.from_pretrained(model).model_type == MMPRMConfig.model_type:
        processor = processing_class if is_prm_processor else MMPRMProcessor.from_pretrained(model)
        return MMPRMModel.from_pretrained(model, dtype=dtype), processor
    processor = processing_class if is_prm_processor else _processor_of(processing_class or model, args)
    return MMPRMModel.from_policy(model, processor, dtype=dtype), processor


def _from_object(model: Any, processing_class: Any, args: PRMConfig) -> tuple[PreTrainedModel, MMPRMProcessor]:
    inner = model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model
    if processing_class is None or (isinstance(inner, MMPRMModel) and not isinstance(processing_class, MMPRMProcessor)):
        raise ValueError(
            f"Found processing_class {type(processing_class).__name__} with a model object; give the PRM's "
            "MMPRMProcessor (for a policy its processor or tokenizer), or the model as a path."
        )
    if isinstance(inner, MMPRMModel):
        return model, processing_class
    is_ready = isinstance(processing_class, MMPRMProcessor)
    processor = processing_class if is_ready else _processor_of(processing_class, args)
    if type(model).__name__.endswith("ForTokenClassification"):
        return prm_of_token_classifier(model, processor), processor
    return MMPRMModel.from_policy(model, processor), processor


def _processor_of(policy: Any, args: PRMConfig) -> MMPRMProcessor:
    if isinstance(policy, PreTrainedTokenizerBase) and policy.pad_token is None:
        policy.pad_token = policy.eos_token
    return MMPRMProcessor.from_policy(
        policy,
        marker_token=args.marker_token,
        positive_token=args.positive_token,
        negative_token=args.negative_token,
        step_separator=args.step_separator,
    )


def prm_of_token_classifier(classifier: PreTrainedModel, processor: MMPRMProcessor) -> MMPRMModel:
    """The PRM of a token classifier: its backbone (not copied) and its head, labels 0 and 1 being wrong and right.

    A bias that is still zero is left out, as heads made from a policy have none.

    Raises:
        ValueError: if it has not two labels, or no decoder and linear head that can be told apart.
    """
    backbone, head = classifier.base_model, getattr(classifier, "score", getattr(classifier, "classifier", None))
    if classifier.config.num_labels != 2 or backbone is classifier or not isinstance(head, nn.Linear):
        raise ValueError(
            f"Found a {type(classifier).__name__} with {classifier.config.num_labels} labels; a PRM takes one with two "
            "(wrong, right) and a linear head over its backbone. Load it with num_labels=2, or give the policy itself."
        )
    prepare_marker_row(backbone, processor)
    has_bias = head.bias is not None and bool(head.bias.detach().any())
    config = MMPRMConfig(
        vlm_config=backbone.config,
        head_bias=has_bias,
        marker_token=processor.marker_token,
        marker_token_id=processor.marker_token_id,
        positive_token=processor.positive_token,
        negative_token=processor.negative_token,
    )
    config.dtype = backbone.dtype
    with torch.device("meta"):
        model = MMPRMModel(config)
    model.vlm = backbone
    model.score = nn.Linear(head.in_features, 2, bias=has_bias, device=head.weight.device, dtype=head.weight.dtype)
    with torch.no_grad():  # columns [positive, negative]
        model.score.weight.copy_(head.weight.flip(0))
        if has_bias:
            model.score.bias.copy_(head.bias.flip(0))
    return model.eval()


def with_adapter(model: MMPRMModel, peft_config: Any, *, in_float32: bool = False) -> PreTrainedModel:
    """The model under an adapter, with head and marker row trained in full.

    Under autocast (`in_float32`) all that is trained is kept in float32, as peft keeps the adapter itself: steps of
    1e-4 are half a unit in the last place of a bfloat16 weight of 0.03, and smaller ones are rounded away.
    """
    from peft import get_peft_model
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN_TARGETS

    peft_config = copy.deepcopy(peft_config)
    peft_config.task_type = None  # a PRM generates nothing
    if getattr(peft_config, "target_modules", "absent") is None:
        peft_config.target_modules = KNOWN_TARGETS.get(model.config.get_text_config().model_type)
    peft_config.modules_to_save = sorted({"score", *(peft_config.modules_to_save or ())})
    if getattr(peft_config, "trainable_token_indices", "absent") is None:
        embeddings = model.get_input_embeddings()
        name = next(name for name, module in model.named_modules() if module is embeddings)
        peft_config.trainable_token_indices = {name.rsplit(".", 1)[-1]: [model.config.marker_token_id]}
    model.enable_input_require_grads()
    adapted = get_peft_model(model, peft_config)
    if in_float32:
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    return adapted


def prm_of(model: Any) -> MMPRMModel:
    """The PRM inside an adapter, if there is one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def apply_liger(model: Any) -> None:
    """Liger's kernels on the backbone, whose configuration they are chosen by.

    Raises:
        ImportError: if liger_kernel is not installed.
    """
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    # A PRM has no vocabulary logits, so there is no cross-entropy for Liger to fuse.
    _apply_liger_kernel_to_instance(model=prm_of(model).vlm, fused_linear_cross_entropy=False, cross_entropy=False)


def set_dropout_to_zero(model: nn.Module) -> None:
    """Sets every dropout of a model to 0."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


__all__ = [
    "apply_liger",
    "model_and_processor",
    "prm_of",
    "prm_of_token_classifier",
    "set_dropout_to_zero",
    "with_adapter",
]
