"""`PRMTrainer`: trains a process reward model on rows with a label for each step.

Rows are those of `rows.py`. Where they name their problem they are packed: its solutions share figure, question and
steps in one row (`tree_groups.py`, `collators.py`). Losses are those of `losses.py`, divided by the weight of all
labelled markers of the optimizer step, over accumulated batches and processes, so that neither changes a training.
"""

from __future__ import annotations

import functools
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import SequentialSampler
from transformers import EvalPrediction, PreTrainedModel, Trainer, set_seed
from transformers.trainer_pt_utils import LengthGroupedSampler

from ..files import writing
from ..models import MMPRMModel
from ..scoring import packed_inputs
from .card import TAGS, write_card
from .checkpoints import STATE_FILE, check_whole, newest_whole_checkpoint, write_checksums
from .collators import PRMCollator
from .losses import pairwise_loss, step_losses, weighted_mean_loss
from .prm_config import PRMConfig
from .rows import check_rows
from .starting import inner_prm, save_start, trainable_prm
from .step_metrics import step_metrics
from .targets import IGNORE_LABEL
from .training_data import prepare_data


class PRMTrainer(Trainer):
    """Trains a PRM; see `PRMConfig` for labels, losses and packing.

    Args:
        model: A PRM; a policy, from which the PRM is built; a token classifier with two labels over a causal decoder,
            as in TRL (its head becomes the PRM's); or a path or hub id of a PRM or a policy.
        args: Options; None takes the defaults.
        data_collator: Replaces the collator of padded rows, and turns packing off. It returns the model's inputs,
            `labels` (batch, seq; in [0, 1] at markers, -100 elsewhere) and optionally `label_weights`.
        train_dataset: `datasets.Dataset` or a list of rows (see `rows.py`).
        eval_dataset: The same, or a dict of them by name; never packed.
        processing_class: The PRM's processor; for a policy also the policy's processor or tokenizer. None loads it
            from the path.
        peft_config: A peft config; head and marker row are trained in full beside the adapter. What is saved is the
            adapter, and the name of the policy or PRM that it was trained on, on which it is loaded again.
        compute_metrics: Replaces `step_metrics`; takes step scores and labels (rows, max steps), padded with -100.
            The labels are those of the rows (k / n), whatever target training maps them to.
        callbacks: As in `Trainer`; the attribute `trainer` of a callback that has one is set to this trainer.
        optimizers, preprocess_logits_for_metrics: As in `Trainer`; the latter takes step scores.

    Attributes:
        data: The `TrainingData`: usable, dropped and packed rows.
        card_metadata: Metadata of the card that the training cannot know, such as ``{"license": "apache-2.0"}``.

    Raises:
        ValueError: for a bad row, naming it and the remedy, a model object without its processor, or arguments other
            than a `PRMConfig`.

    Example:
        >>> trainer = PRMTrainer("path/to/policy", PRMConfig("out/prm"), train_dataset=rows)  # doctest: +SKIP
        >>> trainer.train()  # doctest: +SKIP
    """

    _tag_names = list(TAGS)
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
        if not isinstance(args, PRMConfig):
            raise ValueError(
                f"Found args={type(args).__name__}. PRMTrainer takes a PRMConfig, which has the options of "
                "TrainingArguments and those of a PRM: write PRMConfig in its place."
            )
        set_seed(args.seed)
        name = str(model) if isinstance(model, (str, os.PathLike)) else model.config._name_or_path
        self.base_model_name = name or None
        self.card_metadata: dict[str, Any] = {}
        model, processor = trainable_prm(model, processing_class, args, peft_config)
        # A PRM made of a policy comes from no checkpoint of its own.
        self._is_from_policy = name != inner_prm(model).name_or_path
        may_pack = data_collator is None
        self.data = prepare_data(train_dataset, eval_dataset, inner_prm(model), processor, args, may_pack)
        self._train_start: float | None = None
        self._eval_sums = torch.zeros(2, dtype=torch.float64)  # loss times weight, weight
        # One collator for all data: it packs the groups of packed train rows, and pads the rows of evaluations.
        collator = PRMCollator(
            processor, args.target_config, args.row_limits, metrics=True, siblings=args.pairwise_weight > 0
        )
        right_above = args.hard_threshold if args.label_mapping == "hard" else 0.5
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator or collator,
            train_dataset=self.data.train,
            eval_dataset=self.data.evaluation,
            processing_class=processor,
            compute_metrics=compute_metrics or functools.partial(step_metrics, right_above=right_above),
            callbacks=callbacks,
            optimizers=optimizers,
            preprocess_logits_for_metrics=preprocess_logits_for_metrics,
        )
        for callback in self.callback_handler.callbacks:
            if hasattr(callback, "trainer"):
                callback.trainer = self

    # Order of rows

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        batch_size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return _LengthSampler(batch_size, self.data.lengths, self.args.data_seed)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_eval_sampler(eval_dataset)
        # The stock sampler would look for lengths in columns that raw rows do not have.
        return SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None

    # Loss

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list, Any]:
        """Returns the batches of an optimizer step, and the weight of all their labelled markers over all processes."""
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
        """Returns the weighted mean of the step losses, and the ranking term, over the weight of the optimizer step.

        Args:
            model: The PRM, which may be wrapped.
            inputs: A batch of the collator.
            return_outputs: Return the model's output too.
            num_items_in_batch: The divisor; None takes the weight of this batch.
        """
        args = self.args
        inputs = dict(inputs)
        weights, labels = _label_weights(inputs), inputs.pop("labels")
        groups = inputs.pop("groups", None)
        for name in ("label_weights", "metric_labels"):
            inputs.pop(name, None)
        if packed := inputs.get("packed"):
            pad, prm = self.processing_class.pad_token_id, inner_prm(self.model)
            inputs = self._prepare_inputs(packed_inputs(prm, packed.trees, packed.prompts, packed.extra, pad))
        outputs = model(**inputs)
        is_marker = inputs["input_ids"] == self.processing_class.marker_token_id
        targets, weights = labels[is_marker], weights[is_marker]
        losses = step_losses(outputs.logits, targets, positive_weight=args.positive_weight)
        divisor = weights.sum() if num_items_in_batch is None else num_items_in_batch
        loss = weighted_mean_loss(losses, weights, targets != IGNORE_LABEL, divisor)
        if args.pairwise_weight and groups is not None:
            ranking = pairwise_loss(outputs.logits, targets, groups[is_marker], weights)
            loss = loss + args.pairwise_weight * ranking / torch.as_tensor(divisor).to(ranking).clamp(min=1e-12)
        loss = loss + self._tied_to_vision(model, inputs)
        if num_items_in_batch is not None and args.world_size > 1:
            loss = loss * args.world_size  # gradients are averaged over processes, and the divisor counts all of them
        return (loss, outputs) if return_outputs else loss

    def _tied_to_vision(self, model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor | float:
        """Zero, with zero gradients for the trained parameters that a batch without figures does not reach.

        DDP waits for the gradients of all parameters, unless it looks for unused ones by itself (under gradient
        checkpointing the stock trainer tells it not to).
        """
        is_waiting = isinstance(model, DistributedDataParallel) and not model.find_unused_parameters
        if not is_waiting or "pixel_values" in inputs:
            return 0.0
        vlm = inner_prm(model).vlm
        decoder = getattr(vlm, "language_model", vlm)
        reached = {id(parameter) for parameter in decoder.parameters()}
        unused = [p for p in vlm.parameters() if p.requires_grad and id(p) not in reached]
        return sum((p.flatten()[0] * 0.0 for p in unused), 0.0)

    # Evaluation

    def evaluate(self, eval_dataset: Any = None, *arguments: Any, **options: Any) -> dict[str, float]:
        """As `Trainer`'s; rows that are given here are checked as those of the constructor are."""
        if isinstance(eval_dataset, dict):
            eval_dataset = {name: self._checked_rows(rows, name) for name, rows in eval_dataset.items()}
        elif eval_dataset is not None and not isinstance(eval_dataset, str):
            eval_dataset = self._checked_rows(eval_dataset, "eval")
        return super().evaluate(eval_dataset, *arguments, **options)

    def _checked_rows(self, rows: Any, name: str) -> Any:
        known = self.data.evaluation
        if any(rows is checked for checked in (known.values() if isinstance(known, dict) else [known])):
            return rows
        rules = (self.args.row_limits, self.args.target_config, self.args.on_bad_row)
        return check_rows(rows, self.processing_class, *rules, name=name, quiet=self.args.disable_tqdm).rows

    def evaluation_loop(self, *arguments: Any, **options: Any) -> Any:
        """As `Trainer`'s; the loss is the weighted mean over all labelled steps, whatever the batch size."""
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
        """Returns loss, step scores and labels; scores and labels are (batch, max steps), padded with -100."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        weight = _label_weights(inputs).sum().double().cpu()
        self._eval_sums += torch.stack([loss.detach().double().cpu() * weight, weight])
        if prediction_loss_only:
            return loss.detach(), None, None
        is_marker = inputs["input_ids"] == self.processing_class.marker_token_id
        labels = inputs.get("metric_labels", inputs["labels"])[is_marker].split(outputs.marker_counts.tolist())
        scores = pad_sequence(list(outputs.step_scores()), batch_first=True, padding_value=IGNORE_LABEL)
        return loss.detach(), scores.detach(), pad_sequence(labels, batch_first=True, padding_value=IGNORE_LABEL)

    # Checkpoints and their cards

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
        """Whether a folder contains whole weights as `save_pretrained` writes them.

        The stock trainer (5.24) reads such files by the names in memory, with strict=False. Some families are written
        under the names of their first release (LLaVA's decoder): their weights would silently not be loaded.
        """
        is_whole = not (self.is_fsdp_enabled or self.is_deepspeed_enabled)
        return is_whole and isinstance(model, MMPRMModel) and any(Path(folder).glob("model*.safetensors"))

    def train(self, resume_from_checkpoint: str | Path | bool | None = None, *arguments: Any, **options: Any) -> Any:
        """As `Trainer.train`; True resumes from the newest whole checkpoint. The seconds are counted for the card.

        Raises:
            ValueError: if the checkpoint lacks a file, or one was changed: the training would go another way.
            StorageFailedError: if there is no room for a checkpoint.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = newest_whole_checkpoint(Path(self.args.output_dir))
            if resume_from_checkpoint is None:
                raise ValueError(f"Found no whole checkpoint in {self.args.output_dir}. Train without resuming.")
        if resume_from_checkpoint:
            is_sharded = self.is_deepspeed_enabled or self.is_fsdp_enabled
            if self.args.local_process_index == 0:
                check_whole(Path(resume_from_checkpoint), self.args.world_size, is_sharded=is_sharded)
            resume_from_checkpoint = str(resume_from_checkpoint)
        self._train_start = time.monotonic()
        return super().train(resume_from_checkpoint, *arguments, **options)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """As `Trainer`'s; what an earlier, interrupted save left in the folder goes first, its last file before all."""
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save and folder.exists():
            (folder / STATE_FILE).unlink(missing_ok=True)
            shutil.rmtree(folder)
        self.accelerator.wait_for_everyone()
        with writing(folder):
            super()._save_checkpoint(model, trial)

    def _save_rng_state(self, output_dir: str) -> None:
        """As `Trainer`'s; then the checksums of what all processes have written. The trainer's state is saved next."""
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            write_checksums(Path(output_dir))

    def _init_training_state(self, *arguments: Any, **options: Any) -> tuple[int, int]:
        """As `Trainer`'s; the best checkpoint is looked for in the output folder, which may have been moved."""
        progress = super()._init_training_state(*arguments, **options)
        best = Path(self.args.output_dir) / f"checkpoint-{self.state.best_global_step}"
        if best.is_dir():
            self.state.best_model_checkpoint = str(best)
        return progress

    def _run_epoch(self, *arguments: Any, **options: Any) -> None:
        """As `Trainer`'s, which (5.24) takes one step more if it resumes from a checkpoint of the last step."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*arguments, **options)

    @property
    def train_seconds(self) -> float | None:
        """Seconds since this process began to train; None if it did not."""
        return None if self._train_start is None else time.monotonic() - self._train_start

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        with writing(Path(output_dir or self.args.output_dir)):
            super()._save(output_dir, state_dict)
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            start = {"is_policy": self._is_from_policy, "repository": self.args.hub_model_id}
            save_start(self.model, self.base_model_name, folder, **start)
            write_card(self, folder)

    def create_model_card(self, model_name: str | None = None, **facts: Any) -> None:
        """Writes README.md into the output folder.

        Args:
            model_name: Title; None takes the name of the folder.
            **facts: `dataset`, `language`, `license`, `tags` and `finetuned_from`, as in `Trainer.create_model_card`.
        """
        if self.is_world_process_zero():
            write_card(self, self.args.output_dir, model_name, **facts)


def _label_weights(batch: dict[str, Any]) -> torch.Tensor:
    """(batch, seq) weights; if the collator gives none, 1 for every label."""
    weights = batch.get("label_weights")
    return (batch["labels"] != IGNORE_LABEL).float() if weights is None else weights


class _LengthSampler(LengthGroupedSampler):
    """Rows of similar length together, in an order that depends on seed and epoch alone, so that resuming is exact."""

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
    """Load all weights of a checkpoint into a model."""
    saved = MMPRMModel.from_pretrained(folder, dtype=model.dtype)
    model.load_state_dict(saved.state_dict(), strict=True)
