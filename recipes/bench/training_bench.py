"""Training on 32 solutions of one problem: packed trees against one row per solution, and the published way.

    python recipes/bench/training_bench.py                  # what `make bench` runs: two CPU cores, float32
    python recipes/bench/training_bench.py --setting tiles  # four tiles and a vocabulary of 20,000
    python recipes/bench/training_bench.py --sweep          # solutions per second of all ways by rows per batch

Three ways train on the same rows with the same loss and give the same gradients (checked in every run):

- packed: `PRMTrainer` on packed trees; every shared token and the figure once, all solutions of a problem together;
- rows: `PRMTrainer` with packing off, one row and one figure per solution;
- plain: the published trainer: as rows, and float32 logits of the whole vocabulary at all positions, of which two
  columns at the markers are kept; published: the same in its micro-batches of 2.

One measurement is collation, forward and backward over all solutions of some problems. Rows per batch of "rows" and
"plain", and problems per batch of "packed", are the fastest of the sweep (`Setting`). The vision tower is frozen, as
`PRMConfig` and the published recipe have it; gradient checkpointing is off in all ways.

Settings: "nano" are trees that the shipped nano policy searched; "tiles" is the shape of `scoring_bench.py` (4 tiles of
256 tokens, vocabulary 20,000, random weights) on a drawn tree; "golden" the five solutions of the golden files.

`training_rows.jsonl` holds 32 label rows, drawn at random, of each of the 11 problems that had as many after two
OmegaPRM searches of up to 400 rollouts (48 problems at temperature 1, 56 at 1.4; 16 and 8 rollouts per prefix), their
trees joined, weighed anew; rows with a control token in a step are left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from scoring_bench import Bench, _status_bytes

ROWS = Path(__file__).parent / "training_rows.jsonl"
GOLDEN = Path(__file__).resolve().parents[3] / "shared/golden/internvl_qwen2"
NUM_PATHS = 32
WAYS = ("packed", "rows", "plain", "published")
TOLERANCE = 1e-4  # of gradients, relative


@dataclasses.dataclass(frozen=True)
class Setting:
    """How much one setting runs.

    Args:
        num_rows: Rows per batch by way: the fastest of the sweep, the published trainer's for "published".
        num_rounds: How often the ways take turns at all problems.
        num_problems: Problems per turn, which "packed" takes as one batch.
    """

    num_rows: dict[str, int]
    num_rounds: int
    num_problems: int = 1


SETTINGS = {
    "nano": Setting({"rows": 16, "plain": 32, "published": 2}, 5, 4),
    "tiles": Setting({"rows": 4, "plain": 2, "published": 2}, 2),
    "golden": Setting({"rows": 5, "plain": 5, "published": 2}, 20),
    "tiny": Setting({"rows": 8, "plain": 2, "published": 2}, 1),  # for the test of this file
}


def nano_rows(path: Path = ROWS) -> list[dict[str, Any]]:
    """Label rows of the file, their figures drawn again from the problems' ids."""
    from mmprm_hf.nano import problem_from_id

    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    problems = {name: problem_from_id(name).to_problem() for name in {row["problem_id"] for row in rows}}
    return [
        {"prompt": (problem := problems[row["problem_id"]]).question, "images": list(problem.images), **row}
        for row in rows
    ]


def drawn_rows(bench: Bench, num_paths: int = NUM_PATHS, num_steps: int = 8, num_words: int = 19) -> list[dict]:
    """Label rows of a random tree: each solution leaves an earlier one after a step drawn evenly, 0 to `num_steps` - 1.

    A search does the same: it draws on from prefixes of solutions that it has.
    """
    from mmprm_hf.labelling.label_rows import weigh_rows

    rng = random.Random(0)
    words = bench.processor.tokenizer.vocab_size - 20

    def new_step() -> tuple[str, list[int]]:
        return " ".join(f"w{rng.randrange(words)}" for _ in range(num_words)), [rng.randrange(17), 16]

    paths = [[new_step() for _ in range(num_steps)]]
    while len(paths) < num_paths:
        shared = rng.choice(paths)[: rng.randrange(num_steps)]
        paths.append([*shared, *(new_step() for _ in range(num_steps - len(shared)))])
    rows = [
        {
            "prompt": bench.problem.question,
            "images": list(bench.problem.images),
            "completions": [text for text, _ in path],
            "labels": [k / n for _, (k, n) in path],
            "label_counts": [counts for _, counts in path],
            "problem_id": "bench",
        }
        for path in paths
    ]
    return weigh_rows(rows)


def golden_rows() -> list[dict[str, Any]]:
    """The five solutions of one problem from the golden files, with their labels."""
    from PIL import Image

    training = json.loads((GOLDEN / "golden_scores.json").read_text(encoding="utf-8"))["training"]["one_problem"]
    rows = []
    for row in training["rows"]:
        human, gpt = row["conversations"]
        question, process = human["value"].removeprefix("Question: ").split("\nProcess: ")
        rows.append(
            {
                "prompt": question,
                "images": [Image.new("RGB", (8, 8))],  # its tiles come from the golden files
                "completions": process.removesuffix("<prm>").split("<prm>\n\n"),
                "labels": gpt["value"],
                "problem_id": "golden",
            }
        )
    return rows


class _GoldenTiles:
    """Stands in for the image processor: gives the golden tiles of the one figure for every image asked for."""

    def __init__(self, tiles: Any) -> None:
        self.tiles = tiles

    def __call__(self, images: Any, return_tensors: str) -> dict[str, Any]:
        return {"pixel_values": self.tiles}


class TrainingBench:
    """A PRM, a vocabulary head that holds its two rows, and rows in groups by problem.

    Args:
        setting: Key of `SETTINGS`.
    """

    def __init__(self, setting: str) -> None:
        import torch

        from mmprm_hf.training import PRMConfig, PRMTrainer
        from mmprm_hf.training.collators import PRMCollator

        self.torch, self.setting = torch, SETTINGS[setting]
        model, processor, vocabulary, rows = getattr(self, f"_load_{'tiles' if setting == 'tiny' else setting}")(
            setting
        )
        columns = [processor.positive_token_id, processor.negative_token_id]
        self.columns, self.processor = columns, processor
        head = vocabulary.detach().clone()
        head[columns] = model.score.weight.detach()
        self.head = torch.nn.Parameter(head)
        args = PRMConfig(
            tempfile.mkdtemp(), report_to="none", use_cpu=True, disable_tqdm=True, packing=True, max_length=None
        )
        self.trainer = PRMTrainer(model, args, train_dataset=rows, processing_class=processor)
        self.model = self.trainer.model.train()
        by_length = sorted(range(len(self.trainer.train_dataset)), key=self.trainer.data.lengths.__getitem__)
        self.groups = [self.trainer.train_dataset[index] for index in by_length]
        self.num_tokens = self.trainer.data.num_tokens
        self.collate = PRMCollator(processor)

    @staticmethod
    def _load_nano(setting: str) -> tuple[Any, Any, Any, list]:
        from mmprm_hf.stages import load_models

        models = load_models()
        return models.scorer.model, models.scorer.processor, models.policy.lm_head.weight, nano_rows()

    @staticmethod
    def _load_tiles(setting: str) -> tuple[Any, Any, Any, list]:
        bench = Bench("tiny" if setting == "tiny" else "small", "cpu", "float32", "sdpa")
        return bench.scorer.model, bench.processor, bench.policy.lm_head.weight, drawn_rows(bench)

    @staticmethod
    def _load_golden(setting: str) -> tuple[Any, Any, Any, list]:
        from safetensors import safe_open

        from mmprm_hf.families import convert_internvl_model, convert_internvl_processor

        ids = json.loads((GOLDEN / "token_ids.json").read_text(encoding="utf-8"))
        roles = {"marker": "<prm>", "positive": "Yes", "negative": "No", "image": "<IMG_CONTEXT>"}
        model = convert_internvl_model(GOLDEN, {role: ids[token] for role, token in roles.items()})
        processor = convert_internvl_processor(GOLDEN, "train")
        with safe_open(GOLDEN / "golden_inputs.safetensors", "pt") as file:
            processor.base_processor.image_processor = _GoldenTiles(file.get_tensor("pixel_values/wide120x60"))
        with safe_open(GOLDEN / "model.safetensors", "pt") as file:
            vocabulary = file.get_tensor("language_model.lm_head.weight")
        return model, processor, vocabulary, golden_rows()

    # The ways; each adds the gradients of one problem's mean loss

    def run(self, way: str, group: list[dict], num_rows: int | None = None) -> float:
        """Collation, forward and backward over a problem's rows, at most `num_rows` at a time; returns the loss."""
        if way == "packed":
            batch = self.collate([group])
            return self._backward(self.trainer.compute_loss(self.model, batch))
        num_rows = num_rows or self.setting.num_rows[way]
        total = self.torch.tensor(sum(weight for row in group for weight in _weights(row)))
        loss = 0.0
        for start in range(0, len(group), num_rows):
            batch = self.collate(group[start : start + num_rows])
            one = self._rows_loss if way == "rows" else self._plain_loss
            loss += self._backward(one(batch, total))
        return loss

    @staticmethod
    def _backward(loss: Any) -> float:
        loss.backward()
        return loss.item()

    def _rows_loss(self, batch: dict[str, Any], total: Any) -> Any:
        return self.trainer.compute_loss(self.model, batch, num_items_in_batch=total)

    def _plain_loss(self, batch: dict[str, Any], total: Any) -> Any:
        from mmprm_hf.training.losses import step_losses, weighted_mean_loss

        labels, weights = batch.pop("labels"), batch.pop("label_weights")
        states = self.model.vlm(**batch, use_cache=False).last_hidden_state
        logits = self.torch.nn.functional.linear(states, self.head).float()  # (batch, seq, vocabulary)
        is_marker = batch["input_ids"] == self.processor.marker_token_id
        kept = logits[:, :, self.columns][is_marker]
        targets, weights = labels[is_marker], weights[is_marker]
        return weighted_mean_loss(step_losses(kept, targets), weights, targets != -100, total)

    def clear(self) -> None:
        """Forget all gradients."""
        self.head.grad = None
        self.model.zero_grad(set_to_none=True)

    def gradients(self, way: str, group: list[dict]) -> tuple[float, dict[str, Any]]:
        """(loss, gradient by the parameter's name) of one problem."""
        self.clear()
        loss = self.run(way, group)
        gradients = {name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}
        if way in ("plain", "published"):
            gradients["score.weight"] = self.head.grad[self.columns].clone()
        self.clear()
        return loss, gradients

    def largest_difference(self, group: list[dict]) -> float:
        """Largest relative distance of a parameter's gradients from those of "rows", over parameters and ways."""
        _, expected = self.gradients("rows", group)
        whole = sum(float(value.pow(2).sum()) for value in expected.values()) ** 0.5
        differences = []
        for way in ("packed", "plain", "published"):
            _, gradients = self.gradients(way, group)
            assert gradients.keys() == expected.keys()
            for name, value in expected.items():
                # A key's bias, say, has no gradient but rounding: nothing is held against less than 1e-4 of the whole.
                scale = max(float(value.norm()), 1e-4 * whole)
                differences.append(float((gradients[name] - value).norm()) / scale)
        return max(differences)

    # Measurements

    def seconds(self, num_rounds: int, num_groups: int | None = None) -> list[dict[str, float]]:
        """Seconds by way of every turn, of `num_problems` problems: the ways take turns, in an order that rotates.

        No way is warmed up here; `largest_difference` runs them all.
        """
        turns = []
        for _ in range(num_rounds):
            for groups in self.parts(num_groups):
                first = len(turns) % len(WAYS)
                turn = {}
                for way in (*WAYS[first:], *WAYS[:first]):
                    self.clear()
                    start = time.perf_counter()
                    if way == "packed":
                        self._backward(self.trainer.compute_loss(self.model, self.collate(groups)))
                    else:
                        for group in groups:
                            self.run(way, group)
                    turn[way] = time.perf_counter() - start
                turns.append(turn)
        self.clear()
        return turns

    def parts(self, num_groups: int | None = None) -> list[list[list[dict]]]:
        """The problems of each turn."""
        groups, size = self.groups[:num_groups], self.setting.num_problems
        return [groups[start : start + size] for start in range(0, len(groups), size)]

    def saved_bytes(self, way: str, num_rows: int | None = None) -> int:
        """Most bytes that autograd keeps for backward at once: distinct storages but the parameters' own.

        Counted per batch; of several batches of a way the largest counts.
        """
        own = {p.untyped_storage().data_ptr() for p in (*self.model.parameters(), self.head)}
        storages: dict[int, int] = {}
        largest = 0

        def pack(tensor: Any) -> Any:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        backward = self._backward

        def counted(loss: Any) -> float:
            nonlocal largest
            largest = max(largest, sum(storages.values()))
            storages.clear()
            return backward(loss)

        self._backward = counted
        try:
            with self.torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                self.run(way, self.groups[0], num_rows)
        finally:
            self._backward = backward
            self.clear()
        return largest


def _weights(row: dict[str, Any]) -> list[float]:
    from mmprm_hf.training.targets import TargetConfig, step_targets

    return step_targets(row, TargetConfig()).weights


def measure_memory(setting: str, way: str, num_rows: int | None) -> dict[str, float]:
    """MiB that one way adds in a process of its own: ``{"peak": of the process, "saved": for backward}``.

    The peak is above the loaded model, its gradients (which all ways need alike) and one small step, which loads
    libraries. The vocabulary head's own gradient belongs to "plain".
    """
    command = [sys.executable, __file__, "--setting", setting, "--memory-of", way, "--memory-rows", str(num_rows or 0)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    return {name: value / 2**20 for name, value in json.loads(printed).items()}


def _print_memory(setting: str, way: str, num_rows: int | None) -> None:
    bench = TrainingBench(setting)
    group = bench.groups[0]
    bench.run(way, group[:1])
    for parameter in bench.model.parameters():
        if parameter.grad is not None:
            parameter.grad.zero_()
    bench.head.grad = None
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # the peak so far is forgotten (Linux)
    before = _status_bytes("VmRSS")
    bench.run(way, group, num_rows)
    peak = _status_bytes("VmHWM") - before
    bench.clear()
    print(json.dumps({"peak": peak, "saved": bench.saved_bytes(way, num_rows)}))


def _row(name: str, ours: float, baseline: float, ratio: float, unit: str, detail: str) -> dict[str, Any]:
    return {
        "name": name,
        "ours": round(ours, 2),
        "baseline": round(baseline, 2),
        "ratio": round(ratio, 3),
        "unit": unit,
        "detail": detail,
    }


def _middle_half(values: list[float]) -> str:
    if len(values) < 4:
        return f"{min(values):.1f} to {max(values):.1f}"
    low, _, high = statistics.quantiles(values, n=4)
    return f"{low:.1f} to {high:.1f}"


def speed_rows(setting: str, name: str, num_groups: int | None = None) -> list[dict[str, Any]]:
    """Solutions per second, against rows and against the published way; raises where gradients differ."""
    bench = TrainingBench(setting)
    difference = max(bench.largest_difference(group) for group in bench.groups[:2])
    assert difference < TOLERANCE, f"gradients differ by {difference:.1e}"
    turns = bench.seconds(bench.setting.num_rounds, num_groups)
    sizes = [sum(map(len, groups)) for groups in bench.parts(num_groups)] * bench.setting.num_rounds
    speed = {way: statistics.median(size / turn[way] for size, turn in zip(sizes, turns, strict=True)) for way in WAYS}
    tokens = bench.num_tokens
    rows = []
    for way, suffix in (("rows", ""), ("plain", "_plain"), ("published", "_published")):
        ratios = [turn[way] / turn["packed"] for turn in turns]
        what = {"rows": "unpacked", "plain": "the published way", "published": "the published way as published"}[way]
        detail = (
            f"{setting}, {bench.setting.num_problems} problems a batch; baseline: {what}, batches of "
            f"{bench.setting.num_rows[way]}; ratio's middle half "
            f"{_middle_half(ratios)} of {len(ratios)} turns; {tokens['raw']:,} tokens become {tokens['trained']:,}; "
            f"gradients equal to {difference:.0e}"
        )
        rows.append(_row(name + suffix, speed["packed"], speed[way], statistics.median(ratios), "/s", detail))
    return rows


def memory_row(setting: str, name: str, cases: dict[str, tuple[str, int]]) -> dict[str, Any]:
    """Peak of packed and of unpacked rows at all of a problem's solutions at once; `cases` stand in the detail."""
    ours = measure_memory(setting, "packed", None)
    equal = measure_memory(setting, "rows", NUM_PATHS)
    others = {case: measure_memory(setting, way, num_rows) for case, (way, num_rows) in cases.items()}
    more = "; ".join(
        f"{case} {case_memory['peak']:.0f} (saved {case_memory['saved']:.0f})" for case, case_memory in others.items()
    )
    detail = (
        f"{setting}; peak at {NUM_PATHS} solutions per batch above model and gradients, a process each; baseline: "
        f"unpacked; saved for backward: {ours['saved']:.0f} against {equal['saved']:.0f}; accumulating, {more}"
    )
    return _row(name, ours["peak"], equal["peak"], equal["peak"] / ours["peak"], "MiB", detail)


def training_rows(setting: str = "nano") -> list[dict[str, Any]]:
    """All rows of the bench about training: of "nano" and "golden", or of "tiles", which takes 10 minutes and more."""
    cases = {"unpacked 8 at a time": ("rows", 8), "published 2 at a time": ("plain", 2)}
    if setting == "tiles":
        return [*speed_rows("tiles", "train_tree_tiles"), memory_row("tiles", "train_tiles_memory", cases)]
    rows = [*speed_rows("nano", "train_tree_32_paths"), memory_row("nano", "train_tree_memory", cases)]
    if GOLDEN.is_dir():
        return [*rows, *speed_rows("golden", "train_tree_golden")]
    print(f"train_tree_golden is left out: no golden files at {GOLDEN}")
    return rows


def sweep(setting: str) -> None:
    """Prints solutions per second of each way by rows per batch."""
    bench = TrainingBench(setting)
    groups = bench.groups[:4]
    cases = [("packed", 0), *((way, n) for n in (1, 2, 4, 8, 16, 32) for way in ("rows", "plain"))]
    if setting == "tiles":
        cases = [case for case in cases if case[1] <= 8]
    seconds = defaultdict(list)
    for group in [groups[0], *groups]:
        for way, num_rows in cases:
            bench.clear()
            start = time.perf_counter()
            bench.run(way, group, num_rows)
            seconds[way, num_rows].append(time.perf_counter() - start)
    for (way, num_rows), durations in seconds.items():
        print(f"{way:<8}{num_rows:>4}{len(groups[0]) / statistics.median(durations[1:]):>10.1f} /s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=SETTINGS, default="nano")
    parser.add_argument("--sweep", action="store_true", help="rows per batch of --setting")
    parser.add_argument("--memory-of", choices=WAYS, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--memory-rows", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        _print_memory(options.setting, options.memory_of, options.memory_rows or None)
    elif options.sweep:
        sweep(options.setting)
    else:
        for row in training_rows(options.setting):
            print(json.dumps(row))


if __name__ == "__main__":
    main()
