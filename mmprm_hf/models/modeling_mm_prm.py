"""Process reward model: any backbone of transformers with a small head that reads the step markers only.

Full-vocabulary logits are never computed. The loss is part of `forward`, if labels are given.
Part of the portable island, which is copied into checkpoints: imports siblings only.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import os
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput, can_return_tuple

from .checks_mm_prm import check_causal, check_is_prm, check_loads_again, input_device
from .configuration_mm_prm import MMPRMConfig

# Loading remote code copies a file's direct siblings only, so the siblings' own ones are named here too (noqa).
from .encoding_mm_prm import pad_rows  # noqa: F401
from .fetching_mm_prm import fetch  # noqa: F401
from .figure_sources_mm_prm import figure_source  # noqa: F401
from .heads_mm_prm import check_labels, make_head, marker_loss, positive_scores
from .images_mm_prm import load_image  # noqa: F401
from .loading_mm_prm import (
    HUB_KWARGS,
    drop_one_way_conversions,
    load_policy,
    merge_into_weights,
    restore_buffers,
    start_of_adapter,
)
from .places_mm_prm import split_question  # noqa: F401
from .policy_mm_prm import backbone_of, start_head, wrap_backbone
from .processing_mm_prm import MMPRMProcessor
from .prompts_mm_prm import PromptFormat  # noqa: F401
from .solutions_mm_prm import SolutionEncoder  # noqa: F401
from .stock_mm_prm import cache_argument

_VISION_TOWERS = ("vision_tower", "vision_model", "visual", "vision_encoder", "vision_embed_tokens")


@dataclasses.dataclass
class MMPRMOutput(ModelOutput):
    """What `MMPRMModel` returns.

    Args:
        loss: Scalar; None without labels.
        logits: (num_markers, 2), rows of the batch one after the other, columns [positive, negative]; under a sigmoid
            head (num_markers, 1).
        marker_counts: (batch,) number of markers in each row; splits `logits` back into rows.
        cache: The key-value cache; None unless `use_cache` was given.
        hidden_states: The backbone's; None unless `output_hidden_states` was given.
        attentions: The backbone's; None unless `output_attentions` was given.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    marker_counts: torch.Tensor | None = None
    cache: object | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None

    def step_scores(self) -> tuple[torch.Tensor, ...]:
        """Return P(positive) of each step in [0, 1]: one float32 tensor (num_steps,) per row of the batch."""
        return positive_scores(self.logits).split(self.marker_counts.tolist())


class MMPRMModel(PreTrainedModel):
    """Scores every step of a solution: P(positive) at each marker, from a small head on any backbone.

    The backbone (`vlm`) is any vision-language model or text decoder of transformers, without its language-model head.
    Make a PRM with `from_policy` (backbone and head from a policy) or `from_pretrained` (a saved PRM).

    Args:
        config: The model's configuration; weights are random.
    """

    config_class = MMPRMConfig
    _auto_class = "AutoModel"
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    # The head stays in float32: its logits are ten and more, where bfloat16 knows sixteenths only, so that scores would
    # tie and an optimiser's steps be lost.
    _keep_in_fp32_modules_strict = {"score"}
    _keep_in_fp32_modules = ["score"]  # no quantiser touches the head
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: MMPRMConfig):
        super().__init__(config)
        self.vlm = AutoModel.from_config(config.vlm_config)
        self.score = make_head(config)
        self._is_vision_frozen = False
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
        """Return a PRM whose scores, before training, are the policy's own softmax over (positive, negative).

        Backbone weights are the policy's, and the head is the policy's language-model rows of the two tokens (a sigmoid
        head: their difference). This is checked by running both on a short text. A marker that the policy does not know
        gets the mean input embedding.

        Args:
            policy: Path or hub id of a vision-language model or text decoder, or the model itself, which is copied.
            processor: The PRM's processor; None makes it with `MMPRMProcessor.from_policy(policy)`.
            head_type: As in `MMPRMConfig`. "mlp" starts at random: its scores mean nothing before training.
            dtype, attn_implementation: As in `from_pretrained`; unused if `policy` is a model.
            share_backbone: Use the backbone of a model itself and not a copy: policy and PRM are then two heads on the
                same weights. A new marker gets its row in the shared input embeddings.
            **kwargs: For the policy's `from_pretrained` (device_map, quantization_config, revision, ...).

        Returns:
            The PRM in eval mode.

        Raises:
            ValueError: if `policy` is a PRM already, is a model given without processor, lacks weights, is not a causal
                decoder, or changes its logits in a way that such a head cannot express.
        """
        if isinstance(policy, PreTrainedModel):
            if processor is None:
                raise ValueError("from_policy(model) needs the processor; make it with MMPRMProcessor.from_policy.")
            backbone = backbone_of(policy)
            backbone = backbone if share_backbone else copy.deepcopy(backbone)
        else:
            path, policy = policy, load_policy(policy, dtype=dtype, attn_implementation=attn_implementation, **kwargs)
            backbone = backbone_of(policy)
            processor = processor or MMPRMProcessor.from_policy(path)
        model, rebuilt = wrap_backbone(cls, policy, backbone, processor, head_type, share_backbone)
        check_causal(model)
        check_loads_again(model, rebuilt)
        if head_type == "mlp":
            model.score.apply(model._init_weights)
        else:
            start_head(model, policy, processor)
        return model

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, config=None, **kwargs):
        """Load a saved PRM; arguments are those of `PreTrainedModel.from_pretrained`.

        Raises:
            ValueError: if the checkpoint (of an adapter: its base) is not a PRM, or lacks weights of backbone or head,
                or what an adapter was trained on is not there.
        """
        path = pretrained_model_name_or_path
        hub_kwargs = {name: kwargs[name] for name in HUB_KWARGS if name in kwargs}
        start = None if path is None else start_of_adapter(path, **hub_kwargs)
        if start is not None:
            return cls._from_adapter(path, start, hub_kwargs, **kwargs)
        if config is None and path is not None:
            check_is_prm(path, **hub_kwargs)
        returns_info = kwargs.pop("output_loading_info", False)
        model, info = super().from_pretrained(path, *model_args, config=config, output_loading_info=True, **kwargs)
        head = sorted(key for key in info["missing_keys"] if key.startswith("score."))
        backbone = sorted(set(info["missing_keys"]) - set(head))
        if missing := backbone or head:
            part = "backbone" if backbone else "head"
            raise ValueError(
                f"{len(missing)} weights of the {part} are missing in {str(path)!r}, first {missing[:5]}. They and the "
                "scores would be random. Save the PRM again, or start from the policy with MMPRMModel.from_policy."
            )
        if getattr(model, "hf_quantizer", None) is not None:
            drop_one_way_conversions(model)
        restore_buffers(model)
        return (model, info) if returns_info else model

    @classmethod
    def _from_adapter(cls, path: str | os.PathLike, start: str, hub_kwargs: dict, **kwargs) -> MMPRMModel:
        """Make the PRM as it was before training, of a policy or as it is saved, and put the adapter on it."""
        if os.path.isabs(start) and not os.path.isdir(start):
            raise ValueError(
                f"The adapter {str(path)!r} belongs to the model {start!r}, which is not there. Put its folder there, "
                "or write its hub id into config.json (policy)."
            )
        returns_info = kwargs.pop("output_loading_info", False)
        for name in (*HUB_KWARGS, "adapter_kwargs", "trust_remote_code", "_from_auto"):
            kwargs.pop(name, None)
        kwargs |= {name: value for name, value in hub_kwargs.items() if name not in ("revision", "subfolder")}
        shared = {name: kwargs[name] for name in HUB_KWARGS if name in kwargs}
        if PreTrainedConfig.get_config_dict(start, **shared)[0].get("model_type") == MMPRMConfig.model_type:
            model = cls.from_pretrained(start, **kwargs)
        else:
            processor = MMPRMProcessor.from_pretrained(path, **hub_kwargs)
            head_type = MMPRMConfig.from_pretrained(path, **hub_kwargs).head_type
            model = cls.from_policy(start, processor, head_type, **kwargs)
        model.load_adapter(path, adapter_kwargs=hub_kwargs)
        model.name_or_path = model.config._name_or_path = os.fspath(path)
        return (model, {"missing_keys": set(), "unexpected_keys": set()}) if returns_info else model

    # Adapters

    def load_adapter(self, *args, **kwargs):
        """As `PreTrainedModel.load_adapter`, which (5.24) would have the PRM saved under the names of the adapter."""
        conversions = getattr(self, "_weight_conversions", None)
        loading_info = super().load_adapter(*args, **kwargs)
        self._weight_conversions = conversions
        return loading_info

    def merge_and_unload(self) -> MMPRMModel:
        """Return this model without its adapter, whose numbers are now in the weights: a whole PRM, ready to be saved.

        Raises:
            ValueError: if the model carries no adapter.

        Example:
            >>> whole = MMPRMModel.from_pretrained("out/lora").merge_and_unload()  # doctest: +SKIP
            >>> whole.save_pretrained("out/merged")  # doctest: +SKIP
        """
        if not hasattr(self, "peft_config"):
            raise ValueError("This PRM carries no adapter, so there is nothing to merge. Save it as it is.")
        merge_into_weights(self)
        if not getattr(self, "is_quantized", False):  # peft froze them; a whole PRM can be trained
            self.requires_grad_(True)
        if self._is_vision_frozen:
            self.freeze_vision()
        return self

    def save_pretrained(self, save_directory: str | os.PathLike, *args, **kwargs) -> None:
        """Save the whole PRM; arguments are those of `PreTrainedModel.save_pretrained`.

        Raises:
            ValueError: if an adapter is attached: its weights alone would be saved, without what they belong to.
        """
        if hasattr(self, "peft_config"):
            raise ValueError(
                "This PRM carries an adapter. Merge it, then save the whole PRM: "
                f"model.merge_and_unload().save_pretrained({str(save_directory)!r})."
            )
        self._hf_peft_config_loaded = False  # transformers' mark, which peft (0.21) leaves where it merges
        super().save_pretrained(save_directory, *args, **kwargs)

    # What transformers expects

    def get_input_embeddings(self) -> nn.Module:
        """Return the backbone's token embeddings."""
        return self.vlm.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the backbone's token embeddings."""
        self.vlm.set_input_embeddings(value)

    def train(self, mode: bool = True) -> MMPRMModel:
        """As `nn.Module.train`, but a frozen vision tower stays in eval mode."""
        super().train(mode)
        if self._is_vision_frozen:
            self.vision_tower().eval()
        return self

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether activations are recomputed. peft 0.21 asks by this name, of which transformers 5.24 warns."""
        return any(getattr(module, "gradient_checkpointing", False) for module in self.modules())

    # The vision tower

    def vision_tower(self) -> nn.Module | None:
        """Return the backbone's vision encoder, without projector; None for a text decoder."""
        towers = (getattr(self.vlm, name, None) for name in _VISION_TOWERS)
        return next((tower for tower in towers if isinstance(tower, nn.Module)), None)

    def freeze_vision(self) -> None:
        """Freeze the vision tower (ValueError if it is unknown) and keep it in eval mode, so without dropout."""
        tower = self.vision_tower()
        if tower is not None:
            tower.requires_grad_(False)
            # Differs from MM-PRM: its frozen tower stays in train mode, with drop path 0.4 in its features.
            tower.eval()
            self._is_vision_frozen = True
        elif getattr(self.config.vlm_config, "vision_config", None) is not None:
            raise ValueError(
                f"Found no vision tower in {type(self.vlm).__name__} (looked for {', '.join(_VISION_TOWERS)}). "
                "Train with freeze_vision=False and set requires_grad yourself."
            )

    # Forward

    @can_return_tuple
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
        **kwargs,
    ) -> MMPRMOutput:
        """Return the logits of every marker, and the loss if there are labels.

        Args:
            input_ids: (batch, seq); every position that holds `config.marker_token_id` is scored.
            attention_mask: (batch, seq), or (batch, 1, query, key) for packed rows, or a dict per layer type.
            pixel_values: The stock processor's image tensor; None for text.
            position_ids: (batch, seq), needed with a cache or a packed row; None numbers each row's own tokens.
            cache: Key-value cache of a prefix; `input_ids` then holds only what follows it.
            labels: (batch, seq) targets in [0, 1] at markers, -100 (ignored) everywhere else.
            num_items_in_batch: Labelled markers of the whole optimizer step, which the sum of losses is divided by;
                None divides by this batch's own number.
            use_cache: Return `cache`.
            **kwargs: The backbone's other inputs (image sizes, grids, token types), `output_hidden_states`,
                `output_attentions`, and `return_dict`.

        Raises:
            ValueError: for a label that is not at a marker, or neither in [0, 1] nor -100.
        """
        is_marker = input_ids == self.config.marker_token_id  # (batch, seq)
        if labels is not None:
            check_labels(labels, is_marker)
        if position_ids is None and cache is None:
            position_ids = _left_padded_positions(self.vlm, attention_mask)
        if pixel_values is not None:  # image tensors come in float32, and the backbone may have another precision
            is_float = pixel_values.is_floating_point()
            kwargs["pixel_values"] = pixel_values.to(self.vlm.dtype) if is_float else pixel_values
        name = cache_argument(self.vlm)
        if cache is not None:
            kwargs[name] = cache
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids, **kwargs}
        output = self.vlm(**inputs, use_cache=use_cache)
        states = output.last_hidden_state  # (batch, seq, hidden)
        logits = self.marker_logits(states[is_marker.to(states.device)])
        loss = None
        if labels is not None:  # without any marker the loss still reaches all weights, with zero gradients
            loss = marker_loss(logits, labels[is_marker].to(logits.device), num_items_in_batch)
        return MMPRMOutput(
            loss=loss,
            logits=logits,
            marker_counts=is_marker.sum(-1),
            cache=getattr(output, name, None) if use_cache else None,
            hidden_states=getattr(output, "hidden_states", None),
            attentions=getattr(output, "attentions", None),
        )

    @property
    def device(self) -> torch.device:
        """The device that inputs belong on, also where the first weights are offloaded."""
        return input_device(self)

    @classmethod
    def can_generate(cls) -> bool:
        """Return False: a PRM scores steps and writes no text."""
        return False

    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Refuse to generate (TypeError). peft asks every model for this method under task_type="CAUSAL_LM"."""
        raise TypeError("A process reward model scores steps and writes no text. Generate with the policy.")

    def marker_logits(self, states: torch.Tensor) -> torch.Tensor:
        """Return the logits, (num_markers, 2 or 1), of the hidden states (num_markers, hidden) at markers."""
        *_, weight = self.score.parameters()  # under an adapter, those before it are frozen, maybe in another precision
        with torch.autocast(states.device.type, enabled=False):  # the head keeps its own precision under autocast
            logits = self.score(states.to(weight.dtype))  # Accelerate's hooks bring states and weights together
        cap = self.config.logit_softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)


def _left_padded_positions(
    backbone: PreTrainedModel, attention_mask: torch.Tensor | dict | None
) -> torch.Tensor | None:
    """Position ids (batch, seq) that begin at each row's first token, None where the backbone finds them itself.

    By itself, a backbone with absolute positions counts the padding before a row's first token.
    """
    if not isinstance(attention_mask, torch.Tensor) or attention_mask.ndim != 2 or attention_mask[:, 0].all():
        return None
    if hasattr(backbone, "get_rope_index") or "position_ids" not in inspect.signature(backbone.forward).parameters:
        return None
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
