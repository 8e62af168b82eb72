"""Starting from a policy: what of it becomes the backbone, what starts the head, and the checks of both.

This file is part of the portable island: sibling imports only, so that a saved checkpoint carries it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from .processing_mm_prm import MMPRMProcessor

# What configs call the bound of a policy's logits: Gemma 2 and most others, RecurrentGemma, xLSTM.
_SOFTCAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
_TEXT = "Is 1 + 1 = 2?"


def backbone_of(policy: PreTrainedModel) -> PreTrainedModel:
    """The policy without its language-model head.

    Raises:
        ValueError: if it is an encoder-decoder, or no model of its own lies beneath the head.
    """
    name = type(policy).__name__
    check_decoder_only(policy.config, name)
    backbone = policy.base_model
    if backbone is policy:  # no module is named as the class says (Llama4ForCausalLM: "language_model")
        backbone = getattr(policy, "model", None)
        if not isinstance(backbone, PreTrainedModel) or backbone.get_output_embeddings() is not None:
            raise ValueError(
                f"{name} has no headless model inside (its base_model is itself), which a PRM needs as its backbone. "
                "Choose a policy of another family or, for text alone, this one's language model."
            )
    if type(backbone).__name__.endswith("DecoderWrapper"):  # the decoder of an encoder-decoder, by itself
        raise ValueError(
            f"{name} is the decoder of an encoder-decoder (model_type {policy.config.model_type!r}), which AutoModel "
            "does not load by itself. Choose a decoder-only policy."
        )
    return backbone


def attention_of(config: PreTrainedConfig) -> dict[str, str | None]:
    """The attention implementation of a config ("") and of its parts, as its setter takes them."""
    parts = {name: getattr(config, name, None) for name in config.sub_configs}
    return {"": config._attn_implementation} | {
        name: part._attn_implementation for name, part in parts.items() if part is not None
    }


def check_decoder_only(config: PreTrainedConfig, name: str) -> None:
    """Refuses encoder-decoders.

    Raises:
        ValueError: naming what was found.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(
            f"{name} is an encoder-decoder (model_type {config.model_type!r}). A PRM reads prompt and steps as one row "
            "of a decoder: choose a decoder-only policy."
        )


def language_model_head(policy: PreTrainedModel) -> nn.Module:
    """The policy's output embeddings.

    Raises:
        ValueError: if it has none.
    """
    lm_head = policy.get_output_embeddings()
    if lm_head is None:
        raise ValueError(
            f"{type(policy).__name__} has no language-model head, whose rows start the PRM's head. "
            "Give the policy that writes text (AutoModelForCausalLM, AutoModelForImageTextToText)."
        )
    return lm_head


def logit_softcap(text_config: PreTrainedConfig) -> float | None:
    """The bound that a policy puts on its logits, None if none."""
    return next((cap for name in _SOFTCAPS if (cap := getattr(text_config, name, None)) is not None), None)


def positive_scores(logits: torch.Tensor) -> torch.Tensor:
    """P(positive) (num_markers,) in float32 of logits (num_markers, 2), or (num_markers, 1) under a sigmoid head."""
    logits = logits.float()
    return logits[:, 0].sigmoid() if logits.shape[-1] == 1 else logits.softmax(-1)[:, 0]


def prepare_marker_row(backbone: PreTrainedModel, processor: MMPRMProcessor) -> None:
    """Makes room for the marker and starts a new marker at the mean of the known embeddings."""
    embeddings = backbone.get_input_embeddings()
    num_rows = embeddings.weight.shape[0]
    if not processor.marker_added and processor.marker_token_id < num_rows:
        return  # the policy was trained with the marker: its row is kept
    mean = embeddings.weight.detach()[: min(num_rows, processor.marker_token_id)].mean(0)
    if len(processor.tokenizer) > num_rows:
        backbone.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
    with torch.no_grad():
        backbone.get_input_embeddings().weight[processor.marker_token_id] = mean


def policy_text(model: PreTrainedModel, processor: MMPRMProcessor) -> dict[str, torch.Tensor]:
    """A short text as inputs of a PRM's backbone, of token types that steps have."""
    ids = processor.tokenizer.encode(_TEXT, add_special_tokens=False)
    inputs = {"input_ids": torch.tensor([ids], device=model.get_input_embeddings().weight.device)}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if processor.step_type_id:
        inputs["token_type_ids"] = torch.full_like(inputs["input_ids"], processor.step_type_id)
    return inputs


@torch.no_grad()
def check_causal(model: PreTrainedModel, text: dict[str, torch.Tensor]) -> torch.Tensor:
    """States (1, seq, hidden) of the text, which must be the same with either of two texts behind it.

    Raises:
        ValueError: if they are not.
    """
    ids, length = text["input_ids"], text["input_ids"].shape[1]
    twice = {name: torch.cat([value, value], dim=1) for name, value in text.items()}
    beginnings = []
    for end in (ids, ids.flip(1)):  # of one length: kernels round alike
        inputs = {**twice, "input_ids": torch.cat([ids, end], dim=1)}
        states = model.vlm(**inputs, use_cache=False).last_hidden_state
        beginnings.append(states[:, :length].float())
    first, second = beginnings
    # The mean: what lies ahead moves every state (an untrained RoBERTa's by 1e-2), rounding a few.
    error, scale = (first - second).abs().mean().item(), first.std().item()
    tolerance = 1e-4 if _is_exact(model) else 5e-3
    if error > tolerance * scale:
        raise ValueError(
            f"{type(model.vlm).__name__} is not causal: a step's score would depend on later steps (states of the same "
            f"beginning differ by {error / scale:.1e} of their spread on average, allowed {tolerance:.0e}). "
            "Choose a policy that writes text from left to right."
        )
    return model.vlm(**text, use_cache=False).last_hidden_state


def check_loads_again(model: PreTrainedModel, rebuilt: PreTrainedModel) -> None:
    """Compares the backbone with `rebuilt`, made from its config as loading a saved PRM makes it.

    Raises:
        ValueError: if it is of another class or has weights that the policy lacks.
    """
    name, found = type(model.vlm).__name__, type(rebuilt).__name__
    missing: list[str] = []
    if not getattr(model, "is_quantized", False):  # a quantised weight has other names
        missing = sorted(rebuilt.state_dict().keys() - model.vlm.state_dict().keys())
    if missing or not isinstance(model.vlm, type(rebuilt)):
        lacking = f" with {len(missing)} weights that the policy lacks, first {missing[:5]}" if missing else ""
        raise ValueError(
            f"The PRM could not be loaded again: AutoModel makes a {found}{lacking} from this {name}'s config. "
            "Choose a policy whose headless model is the one that AutoModel makes."
        )


@torch.no_grad()
def start_head(
    model: PreTrainedModel,
    policy: PreTrainedModel,
    processor: MMPRMProcessor,
    text: dict[str, torch.Tensor],
    states: torch.Tensor,
) -> None:
    """Starts a linear head from the language-model rows of the two tokens, and compares its score with the policy's.

    A head that misses a rule of the policy's logits is caught by the numbers.

    Args:
        model: The PRM.
        policy: The policy.
        processor: The PRM's processor.
        text: Of `policy_text`.
        states: The backbone's (1, seq, hidden) for it.

    Raises:
        ValueError: if they differ by more than rounding of the model's precision.
    """
    was_training = policy.training
    tokens = [processor.positive_token_id, processor.negative_token_id]
    theirs = positive_scores(policy.eval()(**text, use_cache=False).logits[0, -1:, tokens])
    policy.train(was_training)
    tolerance = 1e-5 if _is_exact(model) else 0.03
    for scale in dict.fromkeys((_logit_scale(policy.config.get_text_config()), 1.0)):
        _copy_head_rows(model.score, policy.get_output_embeddings(), tokens, scale)
        ours = positive_scores(model.marker_logits(states[0, -1:]))
        difference = (ours - theirs.to(ours.device)).abs().item()
        if difference <= tolerance:
            return
    remedy = 'start with head_type="mlp", which promises nothing before training'
    if model.config.head_type == "sigmoid" and model.config.logit_softcap is not None:
        remedy = 'one logit cannot hold the difference of two capped ones: use head_type="two_token"'
    raise ValueError(
        f"The head does not reproduce {type(policy).__name__}: P({processor.positive_token}) differs by "
        f"{difference:.1e}, allowed {tolerance:.0e}. The policy changes its logits in a way that the head does not "
        f"know; {remedy}."
    )


def _logit_scale(text_config: Any) -> float:
    """What the policy's config says that its logits are multiplied with after the head.

    Cohere: `logit_scale` (Aya Vision has it and does not apply it), Granite: `logits_scaling`, Falcon-H1:
    `lm_head_multiplier`.
    """
    factors = (getattr(text_config, name, None) for name in ("logit_scale", "lm_head_multiplier"))
    given = next((factor for factor in factors if factor), None)
    return given or 1.0 / (getattr(text_config, "logits_scaling", None) or 1.0)


def _copy_head_rows(head: nn.Linear, lm_head: nn.Module, tokens: list[int], scale: float) -> None:
    """Copies the language-model rows of the positive and the negative token, times `scale`.

    Raises:
        ValueError: if those rows are quantised: the head would be made of codes.
    """
    kind = type(lm_head.weight.data) if type(lm_head.weight.data) is not torch.Tensor else lm_head.weight.dtype
    if kind not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise ValueError(
            f"The policy's language-model head is quantised (its weight is {kind}), and the PRM's head starts from its "
            'rows. Add "lm_head" to the modules that the quantization_config leaves out.'
        )
    for name, parameter in head.named_parameters():  # weight, and bias where the policy has one
        source = scale * getattr(lm_head, name)[tokens]
        parameter.copy_(source if head.out_features == 2 else source[:1] - source[1:])


def _is_exact(model: PreTrainedModel) -> bool:
    return model.dtype in (torch.float32, torch.float64) and not getattr(model, "is_quantized", False)


__all__ = [
    "attention_of",
    "backbone_of",
    "check_causal",
    "check_decoder_only",
    "check_loads_again",
    "language_model_head",
    "logit_softcap",
    "policy_text",
    "positive_scores",
    "prepare_marker_row",
    "start_head",
]
