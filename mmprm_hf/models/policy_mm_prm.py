"""Starting from a policy: which part of it becomes the backbone, and how its language-model head starts the PRM's.

Part of the portable island, which is copied into checkpoints: imports siblings only.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from .checks_mm_prm import check_decoder_only, is_exact, text_inputs
from .configuration_mm_prm import MMPRMConfig
from .heads_mm_prm import make_head, positive_scores
from .loading_mm_prm import QUANTIZATION_ATTRIBUTES, quantization_of_prm
from .processing_mm_prm import MMPRMProcessor

# Names that configs give to the bound of a policy's logits: Gemma 2 and most others, RecurrentGemma, xLSTM.
_SOFTCAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")


def backbone_of(policy: PreTrainedModel) -> PreTrainedModel:
    """Return the policy without its language-model head.

    Raises:
        ValueError: if it is an encoder-decoder, or there is no separate model beneath the head.
    """
    name = type(policy).__name__
    check_decoder_only(policy.config, name)
    backbone = policy.base_model
    if backbone is policy:  # no module has the name that the class announces (Llama4ForCausalLM: "language_model")
        backbone = getattr(policy, "model", None)
        if not isinstance(backbone, PreTrainedModel) or backbone.get_output_embeddings() is not None:
            raise ValueError(
                f"{name} has no headless model inside (its base_model is itself), which a PRM needs as its backbone. "
                "Choose a policy of another family or, for text alone, this policy's language model."
            )
    if type(backbone).__name__.endswith("DecoderWrapper"):  # the decoder of an encoder-decoder, by itself
        raise ValueError(
            f"{name} is the decoder of an encoder-decoder (model_type {policy.config.model_type!r}), which AutoModel "
            "does not load by itself. Choose a decoder-only policy."
        )
    return backbone


def prepare_marker_row(backbone: PreTrainedModel, processor: MMPRMProcessor) -> None:
    """Make an embedding row for the marker; a new marker starts at the mean of the known embeddings."""
    # Differs from MM-PRM: it leaves the row of a new marker random.
    embeddings = backbone.get_input_embeddings()
    num_rows = embeddings.weight.shape[0]
    if not processor.marker_added and processor.marker_token_id < num_rows:
        return  # the policy was trained with the marker: its row is kept
    mean = embeddings.weight.detach()[: min(num_rows, processor.marker_token_id)].mean(0)
    if len(processor.tokenizer) > num_rows:
        backbone.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
    with torch.no_grad():
        backbone.get_input_embeddings().weight[processor.marker_token_id] = mean


def wrap_backbone(
    model_class: Any,
    policy: PreTrainedModel,
    backbone: PreTrainedModel,
    processor: MMPRMProcessor,
    head_type: str,
    share_backbone: bool,
) -> tuple[Any, PreTrainedModel]:
    """Return a PRM around a backbone, its head not yet initialised, and the empty backbone that its config makes.

    The backbone, which is the policy's or a copy of it, gets a row for the marker. Under `share_backbone` the policy
    still uses it, so its config must not change. A policy without language-model head is refused (ValueError).
    """
    lm_head = policy.get_output_embeddings()
    if lm_head is None:
        raise ValueError(
            f"{type(policy).__name__} has no language-model head, which the PRM's head starts from. Give the policy "
            "that writes text (AutoModelForCausalLM, AutoModelForImageTextToText)."
        )
    # A new config, and a model made from it, choose the attention anew, in the backbone's own configs too.
    parts = [part for part in backbone.modules() if isinstance(part, PreTrainedModel)]
    attention = {part: part.config._attn_implementation for part in parts}
    prepare_marker_row(backbone, processor)
    vlm_config = copy.deepcopy(backbone.config) if share_backbone else backbone.config
    config = _prm_config(policy, vlm_config, processor, head_type)
    config.dtype = backbone.dtype
    with torch.device("meta"):  # a random backbone would double the memory
        model = model_class(config)
    for part, implementation in attention.items():
        part.config._attn_implementation_internal = implementation
    if share_backbone:
        config.vlm_config._attn_implementation = _attention_by_part(backbone.config)
    rebuilt, model.vlm = model.vlm, backbone
    head_dtype = torch.promote_types(backbone.dtype, torch.float32)  # as a saved PRM is loaded
    model.score = make_head(config).to(lm_head.weight.device, head_dtype)
    for name in QUANTIZATION_ATTRIBUTES:
        if hasattr(policy, name):
            setattr(model, name, getattr(policy, name))
    return model.eval(), rebuilt


def _prm_config(
    policy: PreTrainedModel, vlm_config: PreTrainedConfig, processor: MMPRMProcessor, head_type: str
) -> MMPRMConfig:
    text_config = policy.config.get_text_config()
    softcaps = (getattr(text_config, name, None) for name in _SOFTCAPS)
    config = MMPRMConfig(
        vlm_config=vlm_config,
        head_type=head_type,
        head_bias=policy.get_output_embeddings().bias is not None,
        logit_softcap=next((cap for cap in softcaps if cap is not None), None),
        marker_token=processor.marker_token,
        marker_token_id=processor.marker_token_id,
        positive_token=processor.positive_token,
        negative_token=processor.negative_token,
    )
    config.vlm_config._name_or_path = ""  # a machine's path does not belong in a checkpoint
    if hasattr(config.vlm_config, "quantization_config"):  # loading looks for it at the top only
        config.quantization_config = quantization_of_prm(policy)
        del config.vlm_config.quantization_config
    return config


def _attention_by_part(config: PreTrainedConfig) -> dict[str, str | None]:
    """The attention implementation of a config ("") and of its parts, in the form that its setter takes."""
    parts = {name: getattr(config, name, None) for name in config.sub_configs}
    return {"": config._attn_implementation} | {
        name: part._attn_implementation for name, part in parts.items() if part is not None
    }


@torch.no_grad()
def start_head(model: PreTrainedModel, policy: PreTrainedModel, processor: MMPRMProcessor) -> None:
    """Start a linear head from the policy's rows of the two tokens, and compare its score of a text with the policy's.

    The comparison catches a policy that changes its logits in a way that the head does not repeat.

    Raises:
        ValueError: if the scores differ by more than the rounding of the model's precision.
    """
    tokens = [processor.positive_token_id, processor.negative_token_id]
    text = text_inputs(model, processor.tokenizer.encode("Is 1 + 1 = 2?", add_special_tokens=False))
    was_training = policy.training
    logits = policy.eval()(**text, use_cache=False).logits[0, -1:, tokens]
    expected = positive_scores(logits)
    states = model.vlm(**text, use_cache=False).last_hidden_state  # before a shared backbone is in train mode again
    policy.train(was_training)
    # The policy rounds each logit to its own precision, by half a spacing, and the head does not. A score changes by a
    # quarter of the two logits' difference at most.
    rounding = torch.finfo(logits.dtype).eps * logits.abs().max().item() / 4
    tolerance = 1e-5 if is_exact(model) else 0.03 + rounding
    # Aya Vision's config has a scale that its class does not apply, so the numbers decide.
    for scale in dict.fromkeys((_logit_scale(policy.config.get_text_config()), 1.0)):
        _copy_head_rows(model.score, policy.get_output_embeddings(), tokens, scale)
        scores = positive_scores(model.marker_logits(states[0, -1:]))
        difference = (scores - expected.to(scores.device)).abs().item()
        if difference <= tolerance:
            return
    remedy = 'Start with head_type="mlp", which promises nothing before training'
    if model.config.head_type == "sigmoid" and model.config.logit_softcap is not None:
        remedy = 'One logit cannot hold the difference of two capped ones: use head_type="two_token"'
    raise ValueError(
        f"The head does not reproduce {type(policy).__name__}: P({processor.positive_token}) differs by "
        f"{difference:.1e}, allowed {tolerance:.0e}. The policy changes its logits in a way that the head does not "
        f"know. {remedy}."
    )


def _logit_scale(text_config: Any) -> float:
    """The policy's factor for its logits: of Cohere, of Falcon-H1, and of Granite, where it is a divisor."""
    factors = (getattr(text_config, name, None) for name in ("logit_scale", "lm_head_multiplier"))
    factor = next((factor for factor in factors if factor), None)
    return factor or 1.0 / (getattr(text_config, "logits_scaling", None) or 1.0)


def _copy_head_rows(head: nn.Linear, lm_head: nn.Module, tokens: list[int], scale: float) -> None:
    """Copy the language-model rows of the two tokens, times `scale`; quantised rows, which are codes, are refused."""
    kind = type(lm_head.weight.data) if type(lm_head.weight.data) is not torch.Tensor else lm_head.weight.dtype
    if kind not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise ValueError(
            f"The policy's language-model head is quantised (its weight is {kind}), and the PRM's head starts from its "
            'rows. Add "lm_head" to the modules that the quantization_config leaves out.'
        )
    for name, parameter in head.named_parameters():  # weight, and bias where the policy has one
        rows = scale * getattr(lm_head, name)[tokens]
        parameter.copy_(rows if head.out_features == 2 else rows[:1] - rows[1:])
