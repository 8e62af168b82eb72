"""`PRMTrainer`: trains a process reward model on rows with a label per step.

Rows are those of `rows.py`. Where they name their problem they are packed: its solutions share figure, question and
steps in one row (`tree_groups.py`, `collators.py`). Losses are those of `losses.py`, divided by the weight of all
labelled markers of the optimizer step, over accumulated batches and processes, so that neither changes a training.
"""

from __future__ import annotations

import functools
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
from torch.utils.data import SequentialSampler
from transformers import EvalPrediction, PreTrainedModel, Trainer, set_seed
from transformers.trainer_pt_utils import LengthGroupedSampler

from ..models import MMPRMModel
from ..scoring import packed_inputs, why_not_packed
from .card import write_card
from .collators import PackedBatch, PRMCollator, TreeCollator
from .losses import pairwise_loss, step_losses, weighted_mean_loss
from .prm_config import PRMConfig
from .rows import CheckedRows, RowLimits, TokenCounter, check_rows
from .starting import apply_liger, model_and_processor, prm_of, set_dropout_to_zero, with_adapter
from .step_metrics import step_metrics
from .targets import IGNORE_LABEL
from .tree_groups import GroupedRows, group_rows, num_split_problems

logger = logging.getLogger(__name__)


class PRMTrainer(Trainer):
    """Trains a PRM; see `PRMConfig` for labels, losses and packing.

    Args:
        model: A PRM; a policy, from which the PRM is built; a two-label token classifier as TRL's trainer took it; or
            a path or hub id of a PRM or a policy.
        args: Options; None takes the defaults.
        data_collator: Replaces the collator of padded rows, and turns packing off. It gives the model's inputs,
            `labels` (batch, seq; in [0, 1] at markers, -100 elsewhere) and, if it likes, `label_weights`.
        train_dataset: `datasets.Dataset` or a list of rows (see `rows.py`).
        eval_dataset: The same, or a dict of them by name; never packed.
        processing_class: The PRM's processor; for a policy also the policy's own. None loads it from the path.
        peft_config: A peft config; head and marker row are trained in full beside the adapter.
        compute_metrics: Replaces `step_metrics`; gets step scores and labels (rows, max steps), padded with -100.
            Labels are the rows' own (k / n), whatever they are mapped to in training.
        callbacks: As in `Trainer`; one with an attribute `trainer` is given this trainer.
        optimizers: As in `Trainer`.
        preprocess_logits_for_metrics: As in `Trainer`; gets step scores.

    Attributes:
        dropped_rows: Per split, how many rows were dropped for which reason (with ``on_bad_row="drop"``).
        num_rows: Per split, the rows that are left.
        num_tokens: Of the train split: `raw`, one row after the other, and `trained`, packed where rows are packed.
        is_packed: Whether rows are packed.

    Raises:
        ValueError: on a bad row, naming it and the remedy, or a model without its processor.

    Example:
        >>> trainer = PRMTrainer("path/to/policy", PRMConfig("out/prm"), train_dataset=rows)  # doctest: +SKIP
        >>> trainer.train()  # doctest: +SKIP
    """

    _tag_names = ["mmprm", "process-reward-model"]
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: str | os.PathLike | PreTrainedModel,
        args: PRMConfig | None = None,
        data_collator: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        callbacks: list | None = None,
        optimizers: tuple = (None, None),
        preprocess_logits_for_metrics: Callable | None = None,
        peft_config: Any = None,
    ):
        args = args or PRMConfig()
        set_seed(args.seed)
        name = str(model) if isinstance(model, (str, os.PathLike)) else model.config._name_or_path
        self.base_model_name = name or None
        # Steps of 1e-6 are rounded away in bfloat16 weights: what is trained whole is trained in float32.
        dtype = args.model_dtype or ("float32" if peft_config is None else "auto")
        model, processor = model_and_processor(model, processing_class, args, dtype=dtype)
        if peft_config is None and args.model_dtype is None and not getattr(model, "is_quantized", False):
            model = model.float()
        if args.disable_dropout:
            set_dropout_to_zero(model)
        if args.freeze_vision and isinstance(model, MMPRMModel):
            model.freeze_vision()
        if args.use_liger_kernel:
            apply_liger(model)
            args.use_liger_kernel = False  # the stock trainer knows no kernels for a PRM
        if peft_config is not None:
            model = with_adapter(model, peft_config, in_float32=args.bf16 or args.fp16)
            if args.freeze_vision:
                prm_of(model).freeze_vision()  # the adapter may have reached into the tower
        self.limits = RowLimits(args.max_length, args.max_prompt_length, args.max_completion_length)
        self.dropped_rows: dict[str, Counter[str]] = {}
        self.num_rows: dict[str, int] = {}
        self.num_tokens = {"raw": 0, "trained": 0}
        self.train_lengths: list[int] = []
        self.is_packed = False
        self.dataset_name: str | None = None
        self._started: float | None = None
        self._eval_sums = torch.zeros(2, dtype=torch.float64)  # loss times weight, weight
        if train_dataset is not None:
            self.dataset_name = _dataset_name(train_dataset)
            train_dataset = self._train_split(train_dataset, model, processor, args, data_collator is None)
        if isinstance(eval_dataset, dict):
            eval_dataset = {
                name: self._checked(split, name, processor, args)[0] for name, split in eval_dataset.items()
            }
        elif eval_dataset is not None:
            eval_dataset, _ = self._checked(eval_dataset, "eval", processor, args)
        self._own_collator = data_collator is None
        right_above = args.hard_threshold if args.label_mapping == "hard" else 0.5
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator or PRMCollator(processor, args.target_config, self.limits),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processor,
            compute_metrics=compute_metrics or functools.partial(step_metrics, right_above=right_above),
            callbacks=callbacks,
            optimizers=optimizers,
            preprocess_logits_for_metrics=preprocess_logits_for_metrics,
        )
        for callback in self.callback_handler.callbacks:
            if hasattr(callback, "trainer"):
                callback.trainer = self

    # Data

    def _train_split(self, dataset: Any, model: Any, processor: Any, args: PRMConfig, may_pack: bool) -> Any:
        """The train rows without bad ones, grouped where they are packed."""
        rows, checked = self._checked(dataset, "train", processor, args)
        self.train_lengths = checked.lengths
        self.num_tokens = dict.fromkeys(("raw", "trained"), sum(checked.lengths))
        reason = self._why_unpacked(rows, model, args, may_pack)
        if reason and args.packing:
            raise ValueError(f"packing=True cannot be: {reason}. Leave packing at None or False.")
        if reason:
            if args.pairwise_weight:
                raise ValueError(f"pairwise_weight compares sibling steps in packed rows, but {reason}.")
            logger.info("Rows are not packed: %s.", reason)
            return rows
        groups = group_rows(rows, TokenCounter(processor), args.max_packed_length, quiet=args.disable_tqdm)
        self.is_packed = True
        grouped = GroupedRows(rows, groups)
        if args.pairwise_weight and (num_split := num_split_problems(rows, groups)):
            logger.warning(
                "%d problems need more than max_packed_length=%d tokens: siblings in different rows are not compared.",
                num_split,
                args.max_packed_length,
            )
        self.train_lengths = grouped.lengths
        self.num_tokens["trained"] = sum(grouped.lengths)
        return grouped

    def _why_unpacked(self, rows: Any, model: Any, args: PRMConfig, may_pack: bool) -> str | None:
        """Why rows are trained on one by one; None if they are packed."""
        if args.packing is False:
            return "packing is off"
        if not may_pack:
            return "a data_collator of your own takes single rows"
        first = rows[0]
        if first.get("problem_id") is None and first.get("tree_id") is None:
            return "rows name no problem (problem_id or tree_id)"
        return why_not_packed(prm_of(model))

    def _checked(self, dataset: Any, name: str, processor: Any, args: PRMConfig) -> tuple[Any, CheckedRows]:
        """The dataset without bad rows; raises on the first one unless they are to be dropped."""
        if not isinstance(dataset, (datasets.Dataset, Sequence)) or isinstance(dataset, (str, Mapping)):
            raise ValueError(
                f"Found a {type(dataset).__name__} as {name} rows; give a datasets.Dataset or a list of rows (of a "
                "DatasetDict one split; a stream cannot be checked before it is trained on)."
            )
        if isinstance(dataset, datasets.Dataset):
            dataset = dataset.with_format(None)
        checked = check_rows(
            dataset,
            processor,
            limits=self.limits,
            targets=args.target_config,
            on_bad_row=args.on_bad_row,
            quiet=args.disable_tqdm,
        )
        dropped = self.dropped_rows[name] = checked.dropped
        self.num_rows[name] = len(checked.kept)
        if not checked.kept:
            raise ValueError(
                f"None of {len(dataset)} {name} rows can be trained on: {dict(dropped)}. Look at the rows' format."
            )
        if not dropped:
            return dataset, checked
        logger.warning("Dropped %d of %d %s rows: %s", dropped.total(), len(dataset), name, dict(dropped))
        is_dataset = isinstance(dataset, datasets.Dataset)
        kept = dataset.select(checked.kept) if is_dataset else [dataset[index] for index in checked.kept]
        return kept, checked

    def get_train_dataloader(self) -> Any:
        """As `Trainer`'s, over packed rows where rows are packed."""
        if not self.is_packed:
            return super().get_train_dataloader()
        plain, args = self.data_collator, self.args
        self.data_collator = TreeCollator(
            self.processing_class, args.target_config, self.limits, siblings=args.pairwise_weight > 0
        )
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = plain

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """As `Trainer`'s, with the rows' own labels beside their targets."""
        return self._with_metric_labels(super().get_eval_dataloader, eval_dataset)

    def _with_metric_labels(self, make: Callable[[Any], Any], dataset: Any) -> Any:
        if not self._own_collator:
            return make(dataset)
        plain = self.data_collator
        self.data_collator = PRMCollator(self.processing_class, self.args.target_config, self.limits, metrics=True)
        try:
            return make(dataset)
        finally:
            self.data_collator = plain

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """As `Trainer`'s, with the rows' own labels beside their targets."""
        return self._with_metric_labels(super().get_test_dataloader, test_dataset)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return _LengthSampler(batch, self.train_lengths, self.args.data_seed)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_eval_sampler(eval_dataset)
        # The stock sampler would look for lengths in columns that raw rows do not have.
        return SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None

    # Loss

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list, Any]:
        """The batches of an optimizer step, and the weight of all their labelled markers, over all processes."""
        batch_samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        total = sum((_label_weights(batch).sum() for batch in batch_samples), torch.zeros(())).to(device)
        if self.args.world_size > 1:
            total = self.accelerator.gather(total).sum()
        return batch_samples, total

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The weighted mean of the step losses, and the ranking term, both over the weight of the optimizer step.

        Args:
            model: The PRM, maybe wrapped.
            inputs: A batch of either collator.
            return_outputs: Return the model's output too.
            num_items_in_batch: The divisor; None takes this batch's own weight.
        """
        args = self.args
        inputs = dict(inputs)
        weights, labels = _label_weights(inputs), inputs.pop("labels")
        inputs.pop("label_weights", None)
        groups = inputs.pop("groups", None)
        inputs.pop("metric_labels", None)
        if "packed" in inputs:
            inputs = self._prepare_inputs(self._inputs_of(inputs["packed"]))
        outputs = model(**inputs)
        is_marker = inputs["input_ids"] == self.processing_class.marker_token_id
        targets, weights = labels[is_marker], weights[is_marker]
        losses = step_losses(outputs.logits, targets, loss_type=args.loss_type, positive_weight=args.positive_weight)
        divisor = weights.sum() if num_items_in_batch is None else num_items_in_batch
        loss = weighted_mean_loss(losses, weights, targets != IGNORE_LABEL, divisor)
        if args.pairwise_weight and groups is not None:
            ranking, _ = pairwise_loss(outputs.logits, targets, groups[is_marker], weights)
            loss = loss + args.pairwise_weight * ranking / torch.as_tensor(divisor).to(ranking).clamp(min=1e-12)
        loss = loss + self._tied_to_vision(model, inputs)
        if num_items_in_batch is not None and args.world_size > 1:
            loss = loss * args.world_size  # gradients are averaged over processes, and the divisor counts all of them
        return (loss, outputs) if return_outputs else loss

    def _inputs_of(self, packed: PackedBatch) -> dict[str, Any]:
        """Model inputs of a packed batch."""
        pad = self.processing_class.pad_token_id
        prm = prm_of(self.accelerator.unwrap_model(self.model))
        return packed_inputs(prm, packed.trees, packed.prompts, packed.extra, pad)

    def _tied_to_vision(self, model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor | float:
        """Zero, with zero gradients for what a batch without figures does not reach.

        DDP waits for all of them, unless it looks for unused parameters by itself (under gradient checkpointing the
        stock trainer tells it not to).
        """
        is_waiting = isinstance(model, torch.nn.parallel.DistributedDataParallel) and not model.find_unused_parameters
        if not is_waiting or "pixel_values" in inputs:
            return 0.0
        vlm = prm_of(model.module).vlm
        decoder = getattr(vlm, "language_model", vlm)
        reached = {id(parameter) for parameter in decoder.parameters()}
        unused = [p for p in vlm.parameters() if p.requires_grad and id(p) not in reached]
        return sum((p.flatten()[0] * 0.0 for p in unused), 0.0)

    def evaluation_loop(self, *arguments: Any, **options: Any) -> Any:
        """As `Trainer`'s; the loss is the weighted mean over all labelled steps, however they are batched."""
        self._eval_sums = torch.zeros(2, dtype=torch.float64)
        output = super().evaluation_loop(*arguments, **options)
        sums = self._eval_sums.float().to(self.args.device)
        if self.args.world_size > 1:
            sums = self.accelerator.gather(sums[None]).sum(0)
        for name in output.metrics:
            if name.endswith("_loss") and sums[1] > 0:
                output.metrics[name] = float(sums[0] / sums[1])
        return output

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Loss, step scores and labels, the latter two (batch, max steps) padded with -100."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        weight = _label_weights(inputs).sum().double().cpu()
        self._eval_sums += torch.stack([loss.detach().double().cpu() * weight, weight])
        if prediction_loss_only:
            return loss.detach(), None, None
        is_marker = inputs["input_ids"] == self.processing_class.marker_token_id
        labels = inputs.get("metric_labels", inputs["labels"])[is_marker].split(outputs.marker_counts.tolist())
        pad = torch.nn.utils.rnn.pad_sequence
        scores = pad(list(outputs.step_scores()), batch_first=True, padding_value=IGNORE_LABEL)
        return loss.detach(), scores.detach(), pad(list(labels), batch_first=True, padding_value=IGNORE_LABEL)

    # Checkpoints

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        model = self.model if model is None else model
        if self._is_own_checkpoint(resume_from_checkpoint, model):
            _load_weights(model, resume_from_checkpoint)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        folder = self.state.best_model_checkpoint
        if self._is_own_checkpoint(folder, self.model):
            _load_weights(self.model, folder)
        else:
            super()._load_best_model()

    def _is_own_checkpoint(self, folder: str, model: Any) -> bool:
        """Whether a folder holds whole weights as `save_pretrained` writes them.

        The stock trainer (5.24) reads such files by the names in memory, with strict=False. Some families are written
        under the names of their first release (LLaVA's decoder): their weights would stay as they are, in silence.
        """
        is_whole = not (self.is_fsdp_enabled or self.is_deepspeed_enabled)
        return is_whole and isinstance(model, MMPRMModel) and any(Path(folder).glob("model*.safetensors"))

    # Cost and card

    def train(self, *arguments: Any, **options: Any) -> Any:
        """As `Trainer.train`; seconds are counted for the card."""
        self._started = time.monotonic()
        return super().train(*arguments, **options)

    @property
    def train_seconds(self) -> float | None:
        """Since this process began to train; None if it did not."""
        return None if self._started is None else time.monotonic() - self._started

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            write_card(self, output_dir or self.args.output_dir)

    def create_model_card(self, model_name: str | None = None, **facts: Any) -> None:
        """Writes README.md into the output folder.

        Args:
            model_name: Title; None takes the folder's name.
            **facts: `dataset`, `language`, `license`, `tags` and `finetuned_from`, as in `Trainer.create_model_card`.
        """
        if self.is_world_process_zero():
            write_card(self, self.args.output_dir, model_name, **facts)


def _label_weights(batch: dict[str, Any]) -> torch.Tensor:
    """(batch, seq) weights; of a collator that gives none, 1 for every label."""
    weights = batch.get("label_weights")
    return (batch["labels"] != IGNORE_LABEL).float() if weights is None else weights


class _LengthSampler(LengthGroupedSampler):
    """Rows of similar length together, in an order that hangs on seed and epoch alone: a resumed epoch has its own."""

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Any:
        self.generator = torch.Generator()
        self.generator.manual_seed(self.seed + self.epoch)
        return super().__iter__()


def _load_weights(model: MMPRMModel, folder: str) -> None:
    """Put a checkpoint's weights into a model, all of them."""
    saved = MMPRMModel.from_pretrained(folder, dtype=model.dtype)
    model.load_state_dict(saved.state_dict(), strict=True)


def _dataset_name(dataset: Any) -> str | None:
    """The name a dataset was loaded under, if it tells."""
    info = getattr(dataset, "info", None)
    return getattr(info, "dataset_name", None)


__all__ = ["PRMTrainer"]
