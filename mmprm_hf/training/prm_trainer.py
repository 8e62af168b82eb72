"""`PRMTrainer`: trains a process reward model on rows with a label per step, and the collator of those rows.

Rows hold `prompt` (str), `completions` (list of steps), `labels` (one per step: float, bool or int; -100 is ignored)
and optionally `label_counts` ([num_correct, num_decided] per step; they win over `labels`, [0, 0] is ignored) and
`images` (list) or `image`. Labels are mapped in the collator, so that soft or hard is a choice of the training run.
Bad rows raise before training, or are dropped and counted; no row is ever cut.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm
from transformers import AutoConfig, EvalPrediction, PreTrainedModel, Trainer, set_seed

from ..models import MMPRMConfig, MMPRMModel, MMPRMProcessor, register
from ..models.encoding_mm_prm import pad_rows
from ..models.images_mm_prm import load_image
from ..models.modeling_mm_prm import IGNORE_LABEL
from .prm_config import PRMConfig

logger = logging.getLogger(__name__)

_READ_ROWS = 256  # rows read at once while a dataset is checked


class BadRowError(ValueError):
    """A row that cannot be trained on; `reason` is the short name it is counted under."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def row_images(row: Mapping[str, Any]) -> list[Any]:
    """The row's images from `images` (a list or one) or `image`; empty if there are none."""
    images = row.get("images")
    images = row.get("image") if images is None else images
    if images is None:
        return []
    return list(images) if isinstance(images, (list, tuple)) else [images]


def row_targets(row: Mapping[str, Any], label_mapping: str = "soft", hard_threshold: float = 0.0) -> list[float]:
    """Training target per step: in [0, 1], or -100 where the step is ignored.

    Soft: k / n or the label itself. Hard: 1.0 if that is greater than `hard_threshold`, else 0.0.

    Raises:
        BadRowError: if there are no labels, or one is NaN, out of range, or not a possible count.
    """
    counts, labels = row.get("label_counts"), row.get("labels")
    if counts is None and labels is None:
        raise BadRowError("no_labels", "Found neither `labels` nor `label_counts`. Each step needs a label.")
    if counts is not None and labels is not None and len(counts) != len(labels):
        raise BadRowError("label_count", f"Found {len(counts)} label_counts but {len(labels)} labels.")
    targets = []
    for index in range(len(labels if counts is None else counts)):
        label = None if labels is None else labels[index]
        value = None if label is None else float(label)
        if counts is not None and value != IGNORE_LABEL:
            num_correct, num_decided = counts[index]
            if not 0 <= num_correct <= num_decided:
                raise BadRowError(
                    "label_range",
                    f"Found label count {list(counts[index])} at step_index {index}; a count is [num_correct, "
                    "num_decided] with 0 <= num_correct <= num_decided.",
                )
            value = num_correct / num_decided if num_decided else IGNORE_LABEL
        if value is None or math.isnan(value) or (value != IGNORE_LABEL and not 0.0 <= value <= 1.0):
            raise BadRowError(
                "label_range",
                f"Found label {label!r} at step_index {index}; a label lies in [0, 1], or is -100 to be ignored.",
            )
        if value != IGNORE_LABEL and label_mapping == "hard":
            value = float(value > hard_threshold)
        targets.append(value)
    return targets


@dataclasses.dataclass
class PRMCollator:
    """Turns raw rows into model inputs with labels at the markers.

    Two rows ``{"prompt": "q", "completions": ["a", "b"], "labels": [1.0, 0.9]}`` and ``{"prompt": "q",
    "completions": ["c"], "label_counts": [[1, 4]]}`` give, with one token per letter and marker M::

        input_ids       [[q, a, M, b, M], [q, c, M, pad, pad]]
        labels          [[-100, -100, 1.0, -100, 0.9], [-100, -100, 0.25, -100, -100]]   float32
        attention_mask  [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]

    Args:
        processor: The PRM's processor.
        label_mapping, hard_threshold, max_length: As in `PRMConfig`.
    """

    processor: MMPRMProcessor
    label_mapping: str = "soft"
    hard_threshold: float = 0.0
    max_length: int | None = None

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        encoded, extra = self.processor.encode_solutions(
            [row["prompt"] for row in rows], [row_images(row) for row in rows], [[row["completions"]] for row in rows]
        )
        id_rows, label_rows = [], []
        for row, ((prompt, *steps),) in zip(rows, encoded, strict=True):
            targets = row_targets(row, self.label_mapping, self.hard_threshold)
            ids, labels = list(prompt), [IGNORE_LABEL] * len(prompt)
            for step, target in zip(steps, targets, strict=True):
                ids += step
                labels += [IGNORE_LABEL] * (len(step) - 1) + [target]
            if self.max_length is not None and len(ids) > self.max_length:
                raise BadRowError("over_long", _over_long(len(ids), self.max_length))
            id_rows.append(ids)
            label_rows.append(labels)
        return {**self.processor.pad(id_rows, extra), "labels": pad_rows(label_rows, IGNORE_LABEL)}


class PRMTrainer(Trainer):
    """Trains a PRM with the loss of `MMPRMModel.forward`, normalised by all labelled markers of the optimizer step.

    Args:
        model: A PRM, or a path or hub id: of a PRM (loaded) or of a policy (the PRM is built from it).
        args: Options; None takes the defaults.
        train_dataset: `datasets.Dataset` or a list of rows (see the module's text).
        eval_dataset: The same, or a dict of them by name.
        processing_class: The PRM's processor; for a policy's path also the policy's own. None loads it from the path.
        peft_config: A peft config; head and marker row are trained in full beside the adapter.
        compute_metrics: Replaces `step_metrics`; gets predictions and labels (rows, max steps), padded with -100.
        callbacks: As in `Trainer`.
        optimizers: As in `Trainer`.

    Attributes:
        dropped_rows: Per split, how many rows were dropped for which reason (with ``on_bad_row="drop"``).

    Raises:
        ValueError: on a bad row, naming it and the remedy, or a model without its processor.

    Example:
        >>> trainer = PRMTrainer("path/to/policy", PRMConfig("out/prm"), train_dataset=rows)  # doctest: +SKIP
        >>> trainer.train()  # doctest: +SKIP
    """

    _tag_names = ["mmprm", "process-reward-model"]

    def __init__(
        self,
        model: str | os.PathLike | PreTrainedModel,
        args: PRMConfig | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        peft_config: Any = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        callbacks: list | None = None,
        optimizers: tuple = (None, None),
    ):
        args = args or PRMConfig()
        set_seed(args.seed)
        self.base_model_name = str(model) if isinstance(model, (str, os.PathLike)) else None
        model, processor = _model_and_processor(model, processing_class, args)
        if args.freeze_vision and isinstance(model, MMPRMModel):
            model.freeze_vision()
        if peft_config is not None:
            model = _with_adapter(model, peft_config)
        self.dropped_rows: dict[str, collections.Counter] = {}
        if train_dataset is not None:
            train_dataset = self._checked(train_dataset, "train", processor, args)
        if isinstance(eval_dataset, dict):
            eval_dataset = {name: self._checked(split, name, processor, args) for name, split in eval_dataset.items()}
        elif eval_dataset is not None:
            eval_dataset = self._checked(eval_dataset, "eval", processor, args)
        super().__init__(
            model=model,
            args=args,
            data_collator=PRMCollator(processor, args.label_mapping, args.hard_threshold, args.max_length),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processor,
            compute_metrics=compute_metrics or step_metrics,
            callbacks=callbacks,
            optimizers=optimizers,
        )

    def _checked(self, dataset: Any, name: str, processor: MMPRMProcessor, args: PRMConfig) -> Any:
        """The dataset without bad rows; raises on the first one unless they are to be dropped."""
        kept, dropped = check_rows(dataset, processor, args.max_length, args.on_bad_row, args.disable_tqdm)
        self.dropped_rows[name] = dropped
        if not dropped:
            return dataset
        logger.warning("Dropped %d of %d %s rows: %s", dropped.total(), len(dataset), name, dict(dropped))
        if not kept:
            raise ValueError(f"All {len(dataset)} {name} rows were dropped: {dict(dropped)}. Look at the rows' format.")
        return dataset.select(kept) if isinstance(dataset, datasets.Dataset) else [dataset[index] for index in kept]

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Loss, step scores and labels, the latter two (batch, max steps) padded with -100."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        if prediction_loss_only:
            return loss.detach(), None, None
        is_marker = inputs["input_ids"] == self.processing_class.marker_token_id
        labels = inputs["labels"][is_marker].split(outputs.marker_counts.tolist())
        pad = torch.nn.utils.rnn.pad_sequence
        scores = pad(list(outputs.step_scores()), batch_first=True, padding_value=IGNORE_LABEL)
        return loss.detach(), scores.detach(), pad(list(labels), batch_first=True, padding_value=IGNORE_LABEL)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            self._write_card(output_dir or self.args.output_dir)

    def create_model_card(self, model_name: str | None = None, dataset_name: str | None = None) -> None:
        """Writes README.md into the output folder: base model, labels, options, last metrics.

        Args:
            model_name: Title; None takes the folder's name.
            dataset_name: Name of the training data; None reads "not recorded".
        """
        self._write_card(self.args.output_dir, model_name, dataset_name)

    def _write_card(self, folder: str, model_name: str | None = None, dataset_name: str | None = None) -> None:
        args = self.args
        metrics = {k: v for log in self.state.log_history for k, v in log.items() if k.startswith("eval_")}
        mapping = args.label_mapping + (f" (> {args.hard_threshold})" if args.label_mapping == "hard" else "")
        lines = [
            "---",
            "library_name: transformers",
            f"tags: [{', '.join(self._tag_names)}]",
            "---",
            f"# {model_name or Path(folder).name}",
            "",
            "Process reward model: scores each step of a solution. Trained with `PRMTrainer` of mmprm_hf.",
            "",
            f"- Base model: {self.base_model_name or 'not recorded'}",
            f"- Training data: {dataset_name or 'not recorded'}, "
            f"{'not measured' if self.train_dataset is None else len(self.train_dataset)} rows, "
            f"{sum(c.total() for c in self.dropped_rows.values())} dropped",
            f"- Labels: {mapping}",
            f"- Learning rate {args.learning_rate:g}, {args.lr_scheduler_type}, batch {args.train_batch_size} x "
            f"{args.gradient_accumulation_steps} x {args.world_size} processes, seed {args.seed}, "
            f"optimizer steps {self.state.global_step}",
            f"- Step marker `{self.processing_class.marker_token}`, score = P({self.processing_class.positive_token})",
            f"- Evaluation: {', '.join(f'{k[5:]} {v:.4f}' for k, v in metrics.items()) or 'not measured'}",
            "",
        ]
        Path(folder, "README.md").write_text("\n".join(lines), encoding="utf-8")


def check_rows(
    dataset: Any, processor: MMPRMProcessor, max_length: int | None, on_bad_row: str = "raise", quiet: bool = True
) -> tuple[list[int], collections.Counter]:
    """Indices of the rows that can be trained on, and how many others there are by reason.

    Args:
        dataset: `datasets.Dataset` or a sequence of rows; images are opened for their size, not decoded.
        processor: The PRM's processor.
        max_length: Most tokens per row, None for no limit.
        on_bad_row: "raise" or "drop".
        quiet: No progress bar.

    Raises:
        BadRowError: on the first bad row, under "raise".
    """
    kept: list[int] = []
    dropped: collections.Counter = collections.Counter()
    counter = _TokenCounter(processor)
    for index, row in enumerate(tqdm(_raw_rows(dataset), "rows", len(dataset), disable=quiet, delay=2)):
        try:
            _check_row(row, processor)
            num_tokens = 0 if max_length is None else counter.count(row)
            if max_length is not None and num_tokens > max_length:
                raise BadRowError("over_long", _over_long(num_tokens, max_length))
        except BadRowError as error:
            if on_bad_row == "raise":
                raise BadRowError(error.reason, f"Row {index}: {error}") from error
            dropped[error.reason] += 1
        else:
            kept.append(index)
    return kept, dropped


def _raw_rows(dataset: Any) -> Iterator[Mapping[str, Any]]:
    """Rows with their images undecoded (as bytes or path)."""
    if not isinstance(dataset, datasets.Dataset):
        yield from dataset
        return
    raw = dataset.with_format("arrow")
    for start in range(0, len(dataset), _READ_ROWS):
        yield from raw[start : start + _READ_ROWS].to_pylist()


def _check_row(row: Mapping[str, Any], processor: MMPRMProcessor) -> None:
    """Everything about a row but its length."""
    missing = [name for name in ("prompt", "completions") if row.get(name) is None]
    if missing:
        raise BadRowError("no_column", f"Found no {missing}; a row needs prompt, completions and labels.")
    num_steps, num_labels = len(row["completions"]), len(row_targets(row))
    if num_steps != num_labels:
        raise BadRowError(
            "label_count",
            f"Found {num_steps} steps in completions but {num_labels} labels. Each step needs one label; use -100 for "
            "a step that is to be ignored.",
        )
    if not num_steps:
        raise BadRowError("no_steps", "Found no steps in completions. A row needs at least one step.")
    try:
        processor.render_prompt(row["prompt"], len(row_images(row)))
        for step_index, step in enumerate(row["completions"]):
            processor.check_step(step, step_index)
    except ValueError as error:
        raise BadRowError("text", str(error)) from error


def _over_long(num_tokens: int, max_length: int) -> str:
    return (
        f"Found {num_tokens} tokens, more than max_length {max_length}. Rows are never cut: raise max_length, shrink "
        'the image, leave out whole steps, or set on_bad_row="drop".'
    )


class _TokenCounter:
    """Tokens of a row without processing its images: an image's tokens depend on its size only and are remembered."""

    def __init__(self, processor: MMPRMProcessor):
        self.processor = processor
        self.image_tokens: dict[tuple[int, int], int] = {}
        self.num_special = len(processor.encode_prompts(["x"], [[]])[0][0]) - self._num_text("x", 0)

    def _num_text(self, question: str, num_images: int) -> int:
        prompt = self.processor.render_prompt(question, num_images)
        return len(self.processor.tokenizer(prompt, add_special_tokens=False)["input_ids"])

    def _num_image(self, image: Any) -> int:
        """Tokens that one image adds to its placeholder."""
        try:
            size = load_image(image, decode=False).size
        except ValueError as error:
            raise BadRowError("image", str(error)) from error
        if size not in self.image_tokens:
            ids, _ = self.processor.encode_prompts(["x"], [[Image.new("RGB", size)]])
            self.image_tokens[size] = len(ids[0]) - self._num_text("x", 1) - self.num_special
        return self.image_tokens[size]

    def count(self, row: Mapping[str, Any]) -> int:
        images = row_images(row)
        head, tail = self.processor.split_prompt(row["prompt"], len(images))
        steps = self.processor.encode_steps(row["completions"], tail=tail)
        num_head = len(self.processor.tokenizer(head, add_special_tokens=False)["input_ids"])
        num_image = sum(self._num_image(image) for image in images)
        return num_head + self.num_special + num_image + sum(map(len, steps))


def step_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Step accuracy at 0.5 and AUROC (rank formula, ties count half) of the labelled steps.

    A step counts as right if its target is greater than 0.5. AUROC is left out where only one class is present.

    Args:
        prediction: predictions and label_ids of shape (rows, max steps), -100 where there is nothing.
    """
    targets = np.asarray(prediction.label_ids).ravel()
    scores = np.asarray(prediction.predictions).ravel()[targets != IGNORE_LABEL]
    is_right = targets[targets != IGNORE_LABEL] > 0.5
    metrics = {"num_steps": float(is_right.size)}
    if not is_right.size:
        return metrics
    metrics["step_accuracy"] = float(((scores > 0.5) == is_right).mean())
    num_right, num_wrong = int(is_right.sum()), int((~is_right).sum())
    if num_right and num_wrong:
        _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # mean rank of ties, from 1
        rank_sum = ranks[is_right].sum() - num_right * (num_right + 1) / 2
        metrics["auroc"] = float(rank_sum / (num_right * num_wrong))
    return metrics


def _model_and_processor(model: Any, processing_class: Any, args: PRMConfig) -> tuple[PreTrainedModel, MMPRMProcessor]:
    """The PRM and its processor from whatever the user gave."""
    is_prm_processor = isinstance(processing_class, MMPRMProcessor)
    if not isinstance(model, (str, os.PathLike)):
        if not is_prm_processor:
            raise ValueError(
                f"Found processing_class {type(processing_class).__name__} with a model object; give the PRM's "
                "MMPRMProcessor, or the model as a path."
            )
        return model, processing_class
    register()
    if AutoConfig.from_pretrained(model).model_type == MMPRMConfig.model_type:
        processor = processing_class if is_prm_processor else MMPRMProcessor.from_pretrained(model)
        return MMPRMModel.from_pretrained(model), processor
    if not is_prm_processor:
        processing_class = MMPRMProcessor.from_policy(
            model if processing_class is None else processing_class,
            marker_token=args.marker_token,
            positive_token=args.positive_token,
            negative_token=args.negative_token,
        )
    return MMPRMModel.from_policy(model, processing_class), processing_class


def _with_adapter(model: MMPRMModel, peft_config: Any) -> PreTrainedModel:
    """The model under an adapter, with head and marker row trained in full."""
    from peft import get_peft_model

    peft_config.modules_to_save = sorted({"score", *(peft_config.modules_to_save or ())})
    if getattr(peft_config, "trainable_token_indices", "absent") is None:
        embeddings = model.get_input_embeddings()
        name = next(name for name, module in model.named_modules() if module is embeddings)
        peft_config.trainable_token_indices = {name.rsplit(".", 1)[-1]: [model.config.marker_token_id]}
    model.enable_input_require_grads()
    return get_peft_model(model, peft_config)


__all__ = ["BadRowError", "PRMCollator", "PRMTrainer", "check_rows", "row_images", "row_targets", "step_metrics"]
