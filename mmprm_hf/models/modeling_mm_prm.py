"""Process reward model: any backbone of transformers with a small head read at the step markers only.

Full-vocabulary logits never exist here. The loss lies inside `forward`, only when labels are given.
This file is part of the portable island: sibling imports only, so that a saved checkpoint carries it.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import os

import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_mm_prm import MMPRMConfig

# Loading remote code copies a file's direct siblings only, so that those of siblings are named here too (noqa).
from .encoding_mm_prm import pad_rows  # noqa: F401
from .images_mm_prm import load_image  # noqa: F401
from .loading_mm_prm import (
    HUB_KWARGS,
    QUANTIZATION_ATTRIBUTES,
    check_is_prm,
    drop_one_way_conversions,
    load_policy,
    quantization_of_prm,
    restore_buffers,
)
from .policy_mm_prm import (
    attention_of,
    backbone_of,
    check_causal,
    check_loads_again,
    language_model_head,
    logit_softcap,
    policy_text,
    positive_scores,
    prepare_marker_row,
    start_head,
)
from .processing_mm_prm import MMPRMProcessor
from .prompts_mm_prm import DIALECTS  # noqa: F401
from .stock_mm_prm import cache_argument

IGNORE_LABEL = -100.0
_VISION_TOWERS = ("vision_tower", "vision_model", "visual", "vision_encoder", "vision_embed_tokens")


@dataclasses.dataclass
class MMPRMOutput(ModelOutput):
    """What `MMPRMModel` returns.

    Args:
        loss: Scalar, only with labels.
        logits: (num_markers, 2), rows of the batch one after the other, columns [positive, negative]; under a sigmoid
            head (num_markers, 1).
        marker_counts: (batch,) number of markers in each row; splits `logits` back into rows.
        cache: The key-value cache, only where one was asked for.
        hidden_states, attentions: The backbone's, only where `output_hidden_states` or `output_attentions` was given.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    marker_counts: torch.Tensor | None = None
    cache: object | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None

    def step_scores(self) -> tuple[torch.Tensor, ...]:
        """P(positive) of each step in [0, 1]: one float32 tensor (num_steps,) per row of the batch."""
        return positive_scores(self.logits).split(self.marker_counts.tolist())


class MMPRMModel(PreTrainedModel):
    """Scores every step of a solution: P(positive) at each marker position, from a small head on any backbone.

    The backbone (`vlm`) is any vision-language model or text decoder of transformers, without its language-model head.

    Build it with `from_policy` (backbone and head from a policy) or `from_pretrained` (a saved PRM).

    Args:
        config: The model's configuration; weights start at random.
    """

    config_class = MMPRMConfig
    _auto_class = "AutoModel"
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _keep_in_fp32_modules = ["score"]  # float16 alone, whose range is too small; and no quantiser touches the head
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: MMPRMConfig):
        super().__init__(config)
        self.vlm = AutoModel.from_config(config.vlm_config)
        self.score = make_head(config)
        self._vision_frozen = False
        self.post_init()

    # Construction

    @classmethod
    def from_policy(
        cls,
        policy: str | os.PathLike | PreTrainedModel,
        processor: MMPRMProcessor | None = None,
        head_type: str = "two_token",
        dtype: str | torch.dtype = "auto",
        attn_implementation: str | dict | None = None,
        *,
        share_backbone: bool = False,
        **kwargs,
    ) -> MMPRMModel:
        """PRM whose scores equal the policy's own softmax over (positive, negative) at the marker, before training.

        Backbone weights are the policy's; the head is the policy's language-model rows of the two tokens (a sigmoid
        head: their difference). The promise is checked by running both on a short text. A marker that the policy did
        not know gets the mean input embedding (published MM-PRM leaves it random).

        Args:
            policy: Path or hub id of a vision-language or text decoder, or the model itself (it is copied).
            processor: The PRM's processor; None makes it with `MMPRMProcessor.from_policy(policy)`.
            head_type: As in `MMPRMConfig`. "mlp" starts at random: its scores mean nothing before training.
            dtype: As in `from_pretrained`; unused for a model object.
            attn_implementation: As in `from_pretrained`; unused for a model object.
            share_backbone: Of a model object, take the backbone itself and not a copy: policy and PRM then are two
                heads on one set of weights. A new marker gets its row in the shared input embeddings.
            **kwargs: For the policy's `from_pretrained` (device_map, quantization_config, revision, ...).

        Returns:
            The model in eval mode.

        Raises:
            ValueError: if `policy` is a PRM already, a model object is given without processor, weights are missing,
                the backbone is not a causal decoder, or the policy turns its logits into something that such a head
                cannot express.
        """
        if isinstance(policy, PreTrainedModel):
            if processor is None:
                raise ValueError("from_policy(model) needs the processor; make it with MMPRMProcessor.from_policy.")
            backbone = backbone_of(policy)
            policy_model, backbone = policy, backbone if share_backbone else copy.deepcopy(backbone)
        else:
            policy_model = load_policy(policy, dtype=dtype, attn_implementation=attn_implementation, **kwargs)
            backbone = backbone_of(policy_model)
            processor = processor or MMPRMProcessor.from_policy(policy)
        lm_head = language_model_head(policy_model)
        # A new config, and a model made from it, choose the attention anew, in the backbone's own configs too.
        parts = [part for part in backbone.modules() if isinstance(part, PreTrainedModel)]
        attention = {part: part.config._attn_implementation for part in parts}
        prepare_marker_row(backbone, processor)
        config = MMPRMConfig(
            vlm_config=copy.deepcopy(backbone.config) if share_backbone else backbone.config,
            head_type=head_type,
            head_bias=lm_head.bias is not None,
            logit_softcap=logit_softcap(policy_model.config.get_text_config()),
            marker_token=processor.marker_token,
            marker_token_id=processor.marker_token_id,
            positive_token=processor.positive_token,
            negative_token=processor.negative_token,
        )
        config.dtype = backbone.dtype
        config.vlm_config._name_or_path = ""  # a machine's path does not belong in a checkpoint
        if hasattr(config.vlm_config, "quantization_config"):  # loading looks for it at the top only
            config.quantization_config = quantization_of_prm(policy_model)
            del config.vlm_config.quantization_config
        with torch.device("meta"):  # the random backbone would only double the memory
            model = cls(config)
        for part, implementation in attention.items():
            part.config._attn_implementation_internal = implementation
        if share_backbone:
            config.vlm_config._attn_implementation = attention_of(backbone.config)
        rebuilt, model.vlm = model.vlm, backbone
        head_dtype = torch.float32 if backbone.dtype == torch.float16 else backbone.dtype
        model.score = make_head(config).to(lm_head.weight.device, head_dtype)
        model.is_quantized = getattr(policy_model, "is_quantized", False)
        for name in QUANTIZATION_ATTRIBUTES:
            if hasattr(policy_model, name):
                setattr(model, name, getattr(policy_model, name))
        model.eval()
        text = policy_text(model, processor)
        states = check_causal(model, text)
        check_loads_again(model, rebuilt)
        if head_type == "mlp":
            model.score.apply(model._init_weights)
        else:
            start_head(model, policy_model, processor, text, states)
        return model

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, config=None, **kwargs):
        """Loads a saved PRM; arguments are those of `PreTrainedModel.from_pretrained`.

        Raises:
            ValueError: if the checkpoint (of an adapter: its base) is no PRM, or weights other than the head's are
                missing in it.
        """
        path = pretrained_model_name_or_path
        if config is None and path is not None:
            check_is_prm(path, **{name: kwargs[name] for name in HUB_KWARGS if name in kwargs})
        wants_info = kwargs.pop("output_loading_info", False)
        model, info = super().from_pretrained(path, *model_args, config=config, output_loading_info=True, **kwargs)
        missing = sorted(key for key in info["missing_keys"] if not key.startswith("score."))
        if missing:
            raise ValueError(
                f"{len(missing)} weights of the backbone are missing in {str(path)!r}, first {missing[:5]}. They would "
                "be random. Save the PRM again, or start from the policy with MMPRMModel.from_policy."
            )
        if getattr(model, "hf_quantizer", None) is not None:
            drop_one_way_conversions(model)
        restore_buffers(model)
        return (model, info) if wants_info else model

    # What transformers expects

    def get_input_embeddings(self) -> nn.Module:
        """The backbone's token embeddings."""
        return self.vlm.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the backbone's token embeddings."""
        self.vlm.set_input_embeddings(value)

    def vision_tower(self) -> nn.Module | None:
        """The backbone's vision encoder (without projector), None for a text decoder."""
        for name in _VISION_TOWERS:
            if isinstance(getattr(self.vlm, name, None), nn.Module):
                return getattr(self.vlm, name)
        return None

    def freeze_vision(self) -> None:
        """Freezes the vision tower and keeps it in eval mode from now on (no dropout in frozen features).

        Raises:
            ValueError: if the backbone has a vision config but no known tower.
        """
        tower = self.vision_tower()
        if tower is None:
            if getattr(self.config.vlm_config, "vision_config", None) is not None:
                raise ValueError(
                    f"No vision tower found in {type(self.vlm).__name__} (looked for {_VISION_TOWERS}). "
                    "Train with freeze_vision=False and set requires_grad yourself."
                )
            return
        tower.requires_grad_(False)
        # Differs from MM-PRM: its frozen tower stays in train mode, with drop path 0.4 in its features.
        tower.eval()
        self._vision_frozen = True

    def train(self, mode: bool = True) -> MMPRMModel:
        """As `nn.Module.train`, but a frozen vision tower stays in eval mode."""
        super().train(mode)
        if self._vision_frozen:
            self.vision_tower().eval()
        return self

    # Forward

    def forward(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | dict | None = None,
        pixel_values: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: object | None = None,
        labels: torch.FloatTensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        use_cache: bool = False,
        return_dict: bool | None = None,
        **kwargs,
    ) -> MMPRMOutput | tuple:
        """Logits of every marker, and the loss where labels are given.

        Args:
            input_ids: (batch, seq); every position that holds `config.marker_token_id` is scored.
            attention_mask: (batch, seq), or (batch, 1, query, key) for packed rows, or a dict per layer type.
            pixel_values: The stock processor's image tensor, None for text.
            position_ids: (batch, seq), needed with a cache or a packed row; None numbers each row's own tokens.
            cache: Key-value cache of a prefix (`past_key_values` before transformers 5.24); `input_ids` then holds
                only what follows.
            labels: (batch, seq) targets in [0, 1] at marker positions, -100 elsewhere (ignored).
            num_items_in_batch: Labelled markers of the whole optimizer step; the loss is the sum divided by it. None
                divides by this batch's own number.
            use_cache: Return `cache`.
            return_dict: False returns a tuple; None is the configuration's choice.
            **kwargs: The backbone's other inputs (image sizes, grids, token types), and `output_hidden_states`,
                `output_attentions`.

        Returns:
            `MMPRMOutput`, or the tuple of what it holds.

        Raises:
            ValueError: for a label off a marker, or one that is neither in [0, 1] nor -100.
        """
        is_marker = input_ids == self.config.marker_token_id  # (batch, seq)
        if labels is not None:
            check_labels(labels, is_marker)
        if position_ids is None and cache is None:
            position_ids = left_padded_positions(self.vlm, attention_mask)
        if pixel_values is not None:  # in the backbone's precision; image tensors come in float32
            kwargs["pixel_values"] = (
                pixel_values.to(self.vlm.dtype) if pixel_values.is_floating_point() else pixel_values
            )
        hidden = self.vlm(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            **({} if cache is None else {cache_argument(self.vlm): cache}),
            use_cache=use_cache,
            **kwargs,
        )
        logits = self.marker_logits(hidden.last_hidden_state[is_marker.to(hidden.last_hidden_state.device)])
        loss = None
        if labels is not None:  # an empty selection still reaches all weights, with zero gradients
            loss = marker_loss(logits, labels[is_marker].to(logits.device), num_items_in_batch)
        output = MMPRMOutput(
            loss=loss,
            logits=logits,
            marker_counts=is_marker.sum(-1),
            cache=getattr(hidden, cache_argument(self.vlm), None) if use_cache else None,
            hidden_states=getattr(hidden, "hidden_states", None),
            attentions=getattr(hidden, "attentions", None),
        )
        return output if (self.config.return_dict if return_dict is None else return_dict) else output.to_tuple()

    def marker_logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits (num_markers, 2 or 1) of the hidden states (num_markers, hidden) at markers."""
        head = self.score[0] if isinstance(self.score, nn.Sequential) else self.score
        weight = next(head.parameters())
        with torch.autocast(states.device.type, enabled=False):  # the head keeps its own precision under autocast
            logits = self.score(states.to(weight.device, weight.dtype))
        cap = self.config.logit_softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)


def make_head(config: MMPRMConfig) -> nn.Module:
    """A head of `config.head_type` from hidden states to logits, not yet initialised by the model."""
    hidden_size = config.get_text_config().hidden_size
    if config.head_type == "mlp":
        return nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, 2))
    return nn.Linear(hidden_size, 1 if config.head_type == "sigmoid" else 2, bias=config.head_bias)


def check_labels(labels: torch.Tensor, is_marker: torch.Tensor) -> None:
    """Refuses labels that no step can have.

    Raises:
        ValueError: if the shapes differ, or a label lies off a marker or is neither in [0, 1] nor -100.
    """
    if labels.shape != is_marker.shape:
        raise ValueError(
            f"Found labels of shape {tuple(labels.shape)} for input_ids of shape {tuple(is_marker.shape)}. Give one "
            f"label per token, {IGNORE_LABEL:g} wherever there is no marker."
        )
    is_labelled = labels != IGNORE_LABEL  # NaN is
    wrong = is_labelled & ~((labels >= 0) & (labels <= 1) & is_marker.to(labels.device))
    if not wrong.any():
        return
    row, column = wrong.nonzero()[0].tolist()
    rule = "is in [0, 1] or -100" if is_marker[row, column] else "stands at a step marker; all else is -100"
    raise ValueError(
        f"Found the label {labels[row, column].item()} at row {row}, column {column} ({int(wrong.sum())} such labels). "
        f"A label {rule}; check how the labels were made."
    )


def left_padded_positions(backbone: PreTrainedModel, attention_mask: torch.Tensor | dict | None) -> torch.Tensor | None:
    """Position ids (batch, seq) that begin at each row's first token, None where the backbone finds them itself.

    Left to itself, a backbone with absolute positions counts the padding before a row's first token.
    """
    if not isinstance(attention_mask, torch.Tensor) or attention_mask.ndim != 2:
        return None
    if hasattr(backbone, "get_rope_index") or "position_ids" not in inspect.signature(backbone.forward).parameters:
        return None
    if attention_mask[:, 0].all():
        return None
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)


def marker_loss(
    logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Soft two-way cross-entropy ``-[y log p + (1 - y) log(1 - p)]`` over labelled markers, zero if there is none.

    Args:
        logits: (num_markers, 2), columns [positive, negative], or (num_markers, 1), the log-odds of positive.
        labels: (num_markers,) targets in [0, 1]; -100 is ignored.
        num_items_in_batch: Divisor; None takes the number of labelled markers here.
    """
    logits = logits.float()
    if logits.shape[-1] == 1:  # log sigmoid(x) and log(1 - sigmoid(x))
        log_probs = nn.functional.logsigmoid(torch.cat([logits, -logits], dim=-1))
    else:
        log_probs = logits.log_softmax(-1)
    targets = labels.to(log_probs)
    is_labelled = targets != IGNORE_LABEL
    targets = targets.where(is_labelled, torch.zeros_like(targets))
    losses = -(targets * log_probs[:, 0] + (1 - targets) * log_probs[:, 1])
    total = (losses * is_labelled).sum()
    if num_items_in_batch is None:
        num_items_in_batch = is_labelled.sum().clamp(min=1)
    elif isinstance(num_items_in_batch, torch.Tensor):
        num_items_in_batch = num_items_in_batch.to(total.device).clamp(min=1)
    else:
        num_items_in_batch = max(num_items_in_batch, 1)
    return total / num_items_in_batch


__all__ = ["IGNORE_LABEL", "MMPRMModel", "MMPRMOutput", "make_head", "marker_loss"]
