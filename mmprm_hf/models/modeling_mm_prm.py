"""Process reward model: any backbone of transformers with a two-row head read at the step markers only.

Full-vocabulary logits never exist here. The loss lies inside `forward`, only when labels are given.
This file is part of the portable island: sibling imports only, so that a saved checkpoint carries it.
"""

from __future__ import annotations

import copy
import dataclasses
import os

import torch
from torch import nn
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import ModelOutput
from transformers.utils.peft_utils import find_adapter_config_file

from .configuration_mm_prm import MMPRMConfig
from .processing_mm_prm import MMPRMProcessor

IGNORE_LABEL = -100.0
_VISION_TOWERS = ("vision_tower", "vision_model", "visual", "vision_encoder", "vision_embed_tokens")


@dataclasses.dataclass
class MMPRMOutput(ModelOutput):
    """What `MMPRMModel` returns.

    Args:
        loss: Scalar, only with labels.
        logits: (num_markers, 2), rows of the batch one after the other, columns [positive, negative].
        marker_counts: (batch,) number of markers in each row; splits `logits` back into rows.
        past_key_values: The cache, only where one was asked for.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    marker_counts: torch.Tensor | None = None
    past_key_values: object | None = None

    def step_scores(self) -> tuple[torch.Tensor, ...]:
        """P(positive) of each step in [0, 1]: one float32 tensor (num_steps,) per row of the batch."""
        scores = self.logits.float().softmax(-1)[:, 0]
        return scores.split(self.marker_counts.tolist())


class MMPRMModel(PreTrainedModel):
    """Scores every step of a solution: P(positive) at each marker position, from a linear head on any backbone.

    Build it with `from_policy` (backbone and head from a policy) or `from_pretrained` (a saved PRM).

    Args:
        config: The model's configuration; weights start at random.
    """

    config_class = MMPRMConfig
    _auto_class = "AutoModel"
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: MMPRMConfig):
        super().__init__(config)
        self.vlm = AutoModel.from_config(config.vlm_config)
        self.score = nn.Linear(config.get_text_config().hidden_size, 2, bias=config.head_bias)
        self._vision_frozen = False
        self.post_init()

    # Construction

    @classmethod
    def from_policy(
        cls,
        policy: str | os.PathLike | PreTrainedModel,
        processor: MMPRMProcessor | None = None,
        dtype: str | torch.dtype = "auto",
        attn_implementation: str | None = None,
    ) -> MMPRMModel:
        """PRM whose scores equal the policy's own softmax over (positive, negative) at the marker, before training.

        Backbone weights are the policy's; the head is the policy's language-model rows of the two tokens. A marker
        that the policy did not know gets the mean input embedding (published MM-PRM leaves it random).

        Args:
            policy: Path or hub id of a vision-language or text decoder, or the model itself (it is copied).
            processor: The PRM's processor; None makes it with `MMPRMProcessor.from_policy(policy)`.
            dtype: As in `from_pretrained`; unused for a model object.
            attn_implementation: As in `from_pretrained`; unused for a model object.

        Returns:
            The model in eval mode.

        Raises:
            ValueError: if `policy` is a PRM already, or a model object is given without processor.
        """
        if isinstance(policy, PreTrainedModel):
            if processor is None:
                raise ValueError("from_policy(model) needs the processor; make it with MMPRMProcessor.from_policy.")
            policy_model, backbone = policy, copy.deepcopy(policy.base_model)
        else:
            policy_model = _load_policy(policy, dtype, attn_implementation)
            backbone = policy_model.base_model
            processor = processor or MMPRMProcessor.from_policy(policy)
        head = policy_model.get_output_embeddings()
        rows = [processor.positive_token_id, processor.negative_token_id]
        _prepare_marker_row(backbone, processor)
        config = MMPRMConfig(
            vlm_config=backbone.config,
            head_bias=head.bias is not None,
            marker_token=processor.marker_token,
            marker_token_id=processor.marker_token_id,
            positive_token=processor.positive_token,
            negative_token=processor.negative_token,
        )
        config.dtype = backbone.dtype
        config.vlm_config._name_or_path = ""  # a machine's path does not belong in a checkpoint
        with torch.device("meta"):  # the random backbone would only double the memory
            model = cls(config)
        model.vlm = backbone
        model.score = nn.Linear(head.weight.shape[1], 2, bias=config.head_bias).to(head.weight)
        with torch.no_grad():
            model.score.weight.copy_(head.weight[rows])
            if config.head_bias:
                model.score.bias.copy_(head.bias[rows])
        return model.eval()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, config=None, **kwargs):
        """Loads a saved PRM; arguments are those of `PreTrainedModel.from_pretrained`.

        Raises:
            ValueError: if the checkpoint is no PRM, or weights other than the head's are missing in it.
        """
        path = pretrained_model_name_or_path
        hub_names = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
        hub_kwargs = {name: kwargs[name] for name in hub_names if name in kwargs}
        if config is None and path is not None and find_adapter_config_file(path, **hub_kwargs) is None:
            model_type = PreTrainedConfig.get_config_dict(path, **hub_kwargs)[0].get("model_type")
            if model_type != MMPRMConfig.model_type:
                raise ValueError(
                    f"{str(path)!r} is no PRM: its model_type is {model_type!r}, expected {MMPRMConfig.model_type!r}. "
                    "To start a PRM from a policy use MMPRMModel.from_policy."
                )
        wants_info = kwargs.pop("output_loading_info", False)
        model, info = super().from_pretrained(path, *model_args, config=config, output_loading_info=True, **kwargs)
        missing = sorted(key for key in info["missing_keys"] if not key.startswith("score."))
        if missing:
            raise ValueError(
                f"{len(missing)} weights of the backbone are missing in {str(path)!r}, first {missing[:5]}. They would "
                "be random. Save the PRM again, or start from the policy with MMPRMModel.from_policy."
            )
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
        past_key_values: object | None = None,
        labels: torch.FloatTensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        use_cache: bool = False,
        **kwargs,
    ) -> MMPRMOutput:
        """Logits of every marker, and the loss where labels are given.

        Args:
            input_ids: (batch, seq); every position that holds `config.marker_token_id` is scored.
            attention_mask: (batch, seq), or (batch, 1, query, key) for packed rows, or a dict per layer type.
            pixel_values: The stock processor's image tensor, None for text.
            position_ids: (batch, seq), needed with a cache or a packed row.
            past_key_values: Cache of a prefix; `input_ids` then holds only what follows.
            labels: (batch, seq) targets in [0, 1] at marker positions, -100 elsewhere (ignored).
            num_items_in_batch: Labelled markers of the whole optimizer step; the loss is the sum divided by it. None
                divides by this batch's own number.
            use_cache: Return `past_key_values`.
            **kwargs: The backbone's other inputs (image sizes, grids, token types).

        Returns:
            `MMPRMOutput`.
        """
        if pixel_values is not None:
            kwargs["pixel_values"] = pixel_values
        hidden = self.vlm(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )
        is_marker = input_ids == self.config.marker_token_id  # (batch, seq)
        states = hidden.last_hidden_state[is_marker]  # (num_markers, hidden)
        with torch.autocast(states.device.type, enabled=False):  # the head keeps its own precision under autocast
            logits = self.score(states.to(self.score.weight.dtype))
        loss = None
        if labels is not None:  # an empty selection still reaches all weights, with zero gradients
            loss = marker_loss(logits, labels[is_marker], num_items_in_batch)
        return MMPRMOutput(
            loss=loss,
            logits=logits,
            marker_counts=is_marker.sum(-1),
            past_key_values=getattr(hidden, "past_key_values", None) if use_cache else None,
        )


def marker_loss(
    logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Soft two-way cross-entropy ``-[y log p + (1 - y) log(1 - p)]`` over labelled markers, zero if there is none.

    Args:
        logits: (num_markers, 2), columns [positive, negative].
        labels: (num_markers,) targets in [0, 1]; -100 is ignored.
        num_items_in_batch: Divisor; None takes the number of labelled markers here.
    """
    log_probs = logits.float().log_softmax(-1)
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


def _load_policy(path: str | os.PathLike, dtype, attn_implementation: str | None) -> PreTrainedModel:
    """The policy behind a path, as the Auto class of its config loads it."""
    config = AutoConfig.from_pretrained(path)
    if config.model_type == MMPRMConfig.model_type:
        raise ValueError(f"{str(path)!r} is a PRM already; load it with MMPRMModel.from_pretrained.")
    is_vision = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    auto_class = AutoModelForImageTextToText if is_vision else AutoModelForCausalLM
    return auto_class.from_pretrained(path, dtype=dtype, attn_implementation=attn_implementation)


def _prepare_marker_row(backbone: PreTrainedModel, processor: MMPRMProcessor) -> None:
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


__all__ = ["IGNORE_LABEL", "MMPRMModel", "MMPRMOutput", "marker_loss"]
