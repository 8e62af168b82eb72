"""Stage 1 of the nano story: pretrain the base from which policy and PRM both start, as MM-PRM's start from InternVL.

A large vision-language model brings reading, solving and judging from its pretraining; this stage gives the nano base
the same, from an endless stream of train-split problems with exact truth:
  * reading: every image token predicts the two characters drawn in its patch; what the figure shows without words
    (hands of a clock, dots, ticks, positions) is predicted in chosen empty patches as if it were written there;
  * solving: next-token loss on the right solution, in plain and in tagged form, also from a middle layer, because a
    token can only be compared with a prediction that an earlier layer has formed;
  * judging: P(Yes) at the marker after every step of right and minimally wrong siblings (later steps recomputed from
    the error), and a throw-away head that says of every digit whether it is right.
The siblings of one problem share figure and question in one packed row. Resumes from its newest checkpoint.

    python recipes/nano/pretrain_base.py --output out/nano/base --steps 8000
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from architecture import ASSISTANT, IMAGE, MARKER, USER, build_model, build_processor
from base_stream import Sample, families, samples
from torch.utils.data import DataLoader, Dataset
from transformers import AutoProcessor

from mmprm_hf.nano import FAMILIES
from mmprm_hf.nano.drawing import GRID
from mmprm_hf.nano.solver import Number, step_text
from mmprm_hf.scoring import pack_prefix_tree
from mmprm_hf.scoring.packing import stack_masks
from mmprm_hf.steps import TAGGED

CHARACTERS = " 0123456789ABCDPQX+=$#"  # what a patch can show, one class each; " " = nothing
# (family, reading) -> the (column, row) of a patch that shows no text, where its value is predicted.
WORDLESS = {
    ("clock", "hour"): (2, 2),
    ("clock", "minute"): (3, 3),
    ("number_line", "ticks"): (0, 2),
    ("grid_path", "across"): (5, 0),
    ("grid_path", "up"): (5, 1),
    ("pictogram", "A"): (5, 0),
    ("pictogram", "B"): (4, 0),
    ("pictogram", "C"): (3, 0),
}
MIDDLE_LAYER = 4
ROW_LENGTH = 224  # tokens; one shape for all batches, so that compiled layers are compiled once


class PretrainingBatches(Dataset):
    """Batch i is a pure function of (seed, i), so that a resumed run sees what an uninterrupted one sees."""

    def __init__(self, tokenizer, num_steps: int, batch_size: int, seed: int, favoured: Sequence[str] = ()) -> None:
        self.num_steps, self.batch_size, self.seed = num_steps, batch_size, seed
        self.families = families(favoured)
        self.tokenizer = tokenizer
        self.marker, self.image, self.pad, self.end = (
            *tokenizer.convert_tokens_to_ids([MARKER, IMAGE]),
            tokenizer.pad_token_id,
            tokenizer.eos_token_id,
        )
        self.cache: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return self.num_steps

    def encode(self, text: str) -> list[int]:
        """Token ids, remembered: the world's pieces are few."""
        if text not in self.cache:
            self.cache[text] = self.tokenizer.encode(text, add_special_tokens=False)
        return self.cache[text]

    def judged_branch(self, steps) -> tuple[list[int], list[tuple[int, bool]], list[tuple[int, bool]]]:
        """Token ids of steps with markers, and (offset, truth) of its digits and of its markers (prefix truth)."""
        ids, digits, markers, fine = [], [], [], True
        for pieces in steps:
            for piece in pieces:
                if isinstance(piece, Number):
                    stated, true = str(piece.stated), "" if piece.true is None else str(piece.true)
                    aligned = len(stated) == len(true)
                    for index, digit in enumerate(stated):
                        digits.append((len(ids), aligned and digit == true[index]))
                        ids += self.encode(digit)
                    fine = fine and stated == true
                else:
                    ids += self.encode(piece)
            markers.append((len(ids), fine))
            ids.append(self.marker)
        return ids, digits, markers

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        trees, pixels, patches = [], [], []
        names = ("lm_at", "lm_target", "digit_at", "digit", "marker_at", "marker", "fact_at", "fact")
        targets: dict[str, list] = {name: [] for name in names}
        for sample in samples(step, self.batch_size, self.seed, self.families):
            self._add(sample, trees, pixels, patches, targets)
        batch = {"attention_mask": stack_masks(trees, ROW_LENGTH)}
        for name, fill in (("input_ids", self.pad), ("position_ids", 0)):
            rows = [getattr(tree, name).tolist() for tree in trees]
            batch[name] = torch.tensor([row + [fill] * (ROW_LENGTH - len(row)) for row in rows])
        for name, values in targets.items():
            if name.endswith("_at") and name != "fact_at":  # (row, index in row) -> index in the flattened batch
                values = [row * ROW_LENGTH + index for row, index in values]
            batch[name] = torch.tensor(values)
        batch["pixels"] = torch.from_numpy(np.stack(pixels))  # (batch, height, width, 3) uint8
        batch["patches"] = torch.tensor(patches)  # (batch, 36, 2) class of first and last character
        return batch

    def _add(self, sample: Sample, trees, pixels, patches, targets) -> None:
        problem, right = sample.problem, sample.solutions[0]
        canvas = problem.blueprint.draw(random.Random(sample.style_seed))
        pixels.append(np.asarray(canvas.image))
        texts = dict(canvas.texts)
        for (family, name), cell in WORDLESS.items():
            if family == problem.family:
                texts[cell] = str(problem.blueprint.readings[name])
                targets["fact_at"].append(len(trees) * GRID**2 + cell[1] * GRID + cell[0])
                targets["fact"].append(character_classes(texts[cell]))
        cells = [(column, row) for row in range(GRID) for column in range(GRID)]
        patches.append([character_classes(texts.get(cell, "")) for cell in cells])
        prompt = self.encode(USER) + [self.image] * GRID**2 + self.encode(problem.question) + self.encode(ASSISTANT)
        branches = [self.judged_branch(steps) for steps in sample.solutions]
        sequences = [prompt + ids for ids, _, _ in branches]
        if sample.is_written_out:
            text = TAGGED.render(tuple(step_text(step) for step in right), problem.answer)
            sequences.append(prompt + self.encode_solution(text) + [self.end])
        while len(tree := pack_prefix_tree(sequences)) > ROW_LENGTH:
            sequences.pop()
        row = len(trees)
        trees.append(tree)
        for solution in (0, *range(len(branches), len(sequences))):  # the right ones
            index = tree.token_index[solution].tolist()
            for offset in range(len(prompt) - 1, len(index) - 1):
                targets["lm_at"].append((row, index[offset]))
                targets["lm_target"].append(sequences[solution][offset + 1])
        for (_, digits, markers), index in zip(branches, tree.token_index, strict=False):
            for name, truths in (("digit", digits), ("marker", markers)):
                for offset, truth in truths:
                    targets[f"{name}_at"].append((row, int(index[len(prompt) + offset])))
                    targets[name].append(float(truth))

    def encode_solution(self, text: str) -> list[int]:
        """Token ids of a tagged solution (not remembered: too many)."""
        return self.tokenizer.encode(text, add_special_tokens=False)


def character_classes(text: str) -> list[int]:
    """Classes of the first and the last of two characters; text is right-aligned."""
    return [CHARACTERS.index(character) for character in text.rjust(2)]


class Pretrainer(torch.nn.Module):
    """The base with its two throw-away heads; forward returns the losses."""

    def __init__(self, model, yes_no: list[int]) -> None:
        super().__init__()
        self.model = model
        self.yes_no = yes_no
        self.patch_head = torch.nn.Linear(model.config.text_config.hidden_size, 2 * len(CHARACTERS))
        self.digit_head = torch.nn.Linear(model.config.text_config.hidden_size, 1)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        pixels = batch["pixels"].permute(0, 3, 1, 2).float() / 127.5 - 1.0
        encoded = self.model.model.get_image_features(pixels, return_dict=True)
        features = torch.stack(list(encoded.pooler_output))  # (batch, 36, hidden)
        outputs = self.model.model(
            input_ids=batch["input_ids"],
            position_ids=batch["position_ids"],
            attention_mask=batch["attention_mask"],
            mm_encoder_outputs={"image": encoded},
            use_cache=False,
            output_hidden_states=True,
        )
        last = outputs.last_hidden_state.flatten(0, 1)  # (batch * seq, hidden), already normed
        middle = self.model.model.language_model.norm(outputs.hidden_states[MIDDLE_LAYER]).flatten(0, 1)
        head = self.model.lm_head
        patch_logits = self.patch_head(features).unflatten(-1, (2, len(CHARACTERS)))
        marker_logits = head(last[batch["marker_at"]])[:, self.yes_no].float()
        digit_logits = self.digit_head(last[batch["digit_at"]]).squeeze(-1).float()
        fact_logits = patch_logits.flatten(0, 1)[batch["fact_at"]].float()  # (facts, 2, classes)
        truth = batch["marker"]
        losses = {
            "facts": F.cross_entropy(fact_logits.flatten(0, 1), batch["fact"].flatten()),
            "read": F.cross_entropy(patch_logits.flatten(0, 2).float(), batch["patches"].flatten()),
            "solve": F.cross_entropy(head(last[batch["lm_at"]]).float(), batch["lm_target"]),
            "solve_middle": F.cross_entropy(head(middle[batch["lm_at"]]).float(), batch["lm_target"]),
            "digit": F.binary_cross_entropy_with_logits(digit_logits, batch["digit"], pos_weight=torch.tensor(0.4)),
            "judge": F.cross_entropy(marker_logits, torch.stack([truth, 1 - truth], dim=-1)),
        }
        return losses | {
            "judge_accuracy": ((marker_logits[:, 0] > marker_logits[:, 1]) == (truth > 0.5)).float().mean()
        }


WEIGHTS = {"read": 0.5, "facts": 0.5, "solve": 1.0, "solve_middle": 0.3, "digit": 1.0, "judge": 0.7}


def learning_rate(step: int, num_steps: int, peak: float, decay_share: float) -> float:
    """Stay at the peak, then fall linearly to 2 % of it over the last `decay_share` of the steps."""
    fall = max(0.0, (step - (1 - decay_share) * num_steps) / (decay_share * num_steps))
    return peak * (1 - 0.98 * fall)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--decay-share", type=float, default=0.2, help="Share of the steps in which the rate falls.")
    parser.add_argument(
        "--favour", nargs="*", default=[], choices=FAMILIES, help="Families drawn three times as often."
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=250)
    parser.add_argument("--no-autocast", action="store_true", help="Train in float32 (CPUs without bfloat16 units).")
    parser.add_argument("--no-compile", action="store_true", help="Do not compile the decoder layers.")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    args.output.mkdir(parents=True, exist_ok=True)
    checkpoint = args.output / "resume.pt"
    processor = AutoProcessor.from_pretrained(args.output) if checkpoint.exists() else build_processor()
    yes_no = processor.tokenizer.convert_tokens_to_ids(["Yes", "No"])
    trainer = Pretrainer(build_model(processor.tokenizer, args.seed), yes_no)
    if not args.no_compile:
        for layer in trainer.model.model.language_model.layers:
            layer.compile()
    optimizer = torch.optim.AdamW(trainer.parameters(), lr=args.learning_rate, weight_decay=0.05, betas=(0.9, 0.98))
    first = warm_from = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        changed = trainer.load_state_dict(state["trainer"], strict=False)
        first = state["step"]
        if any(changed):  # another set of heads: Adam starts afresh, and warmly
            warm_from = first
        else:
            optimizer.load_state_dict(state["optimizer"])
        print(f"resuming at step {first}", flush=True)
    batches = PretrainingBatches(processor.tokenizer, args.steps, args.batch_size, args.seed, args.favour)
    loader = DataLoader(batches, batch_size=None, sampler=range(first, args.steps), num_workers=1, prefetch_factor=8)
    started, sums = time.time(), {}
    for step, batch in enumerate(loader, start=first):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps, args.learning_rate, args.decay_share) * min(
                1.0, (step - warm_from + 1) / 200
            )
        with torch.autocast("cpu", torch.bfloat16, enabled=not args.no_autocast):
            losses = trainer(batch)
        loss = sum(weight * losses[name] for name, weight in WEIGHTS.items())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainer.parameters(), 1.0)
        optimizer.step()
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        if (step + 1) % 50 == 0:
            means = {name: round(value / 50, 4) for name, value in sums.items()}
            row = {"step": step + 1, "seconds": round(time.time() - started, 1), **means}
            print(json.dumps(row), flush=True)
            with open(args.output / "log.jsonl", "a") as log:
                log.write(json.dumps(row) + "\n")
            sums = {}
        if (step + 1) % args.save_every == 0 or step + 1 == args.steps:
            state = {"trainer": trainer.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)
            trainer.model.save_pretrained(args.output)
            processor.save_pretrained(args.output)


if __name__ == "__main__":
    main()
