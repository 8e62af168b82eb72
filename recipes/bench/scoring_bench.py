"""Scoring 16 candidates of one problem: the packed scorer against the published method written plainly.

    python recipes/bench/scoring_bench.py                          # what `make bench` runs: two CPU cores, float32
    python recipes/bench/scoring_bench.py --shape 8b --device cuda # InternVL2.5-8B dimensions, random weights, bf16

Work: 4 tiles x 256 image tokens, 16 candidates x 8 steps x 20 tokens (the marker included), vocabulary 20,000. The
published scorer repeats the figure for every candidate, runs minibatches of 4 and makes full-vocabulary logits at all
positions (20,064 tokens and 64 tiles here); ours runs the unique tokens once (3,654 and 4).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import time

NUM_CANDIDATES, NUM_STEPS, NUM_STEP_TOKENS, MINIBATCH = 16, 8, 20, 4
PROMPT_WORDS = 47  # the prompt comes to 70 tokens and 1,024 image tokens
WAYS = ("plain", "ours", "unique")


@dataclasses.dataclass(frozen=True)
class Shape:
    """Dimensions of decoder and vision tower."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vision_hidden_size: int
    vision_intermediate_size: int
    vision_num_layers: int
    vision_num_heads: int


SHAPES = {
    "small": Shape(20_000, 256, 1024, 6, 4, 4, 128, 512, 4, 4),
    "tiny": Shape(2_000, 32, 64, 2, 2, 2, 32, 64, 1, 2),  # for the test of this file
    "8b": Shape(92_553, 4096, 14336, 32, 32, 8, 1024, 4096, 24, 16),  # config.json of InternVL2.5-8B
}


def _tokenizer(vocab_size: int):
    """Whole words "w0" ... as tokens, and the published special tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<unk>", "<img>", "<IMG_CONTEXT>", "</img>", "<|im_start|>", "<|im_end|>", "<prm>"]
    words = ["Yes", "No", "Question", "Process", ":", *(f"w{i}" for i in range(vocab_size - len(special) - 5))]
    backend = Tokenizer(models.WordLevel({t: i for i, t in enumerate(special + words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(behavior="isolated")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", extra_special_tokens=special[2:]
    )


class Bench:
    """Policy, PRM, processor and work of one shape.

    Args:
        shape: Key of `SHAPES`.
        device: "cpu" or "cuda".
        dtype: "float32" or "bfloat16".
        attention: attn_implementation of the decoder.
    """

    def __init__(self, shape: str, device: str, dtype: str, attention: str):
        import random

        import torch
        from PIL import Image
        from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLVisionConfig, LlamaConfig

        from mmprm_hf.data import Problem
        from mmprm_hf.models import MMPRMConfig, MMPRMModel, MMPRMProcessor, MMPRMTiledProcessor, tiling_image_processor
        from mmprm_hf.scoring import PRMScorer

        self.torch, size = torch, SHAPES[shape]
        torch.manual_seed(0)
        base = MMPRMTiledProcessor(tiling_image_processor(448), _tokenizer(size.vocab_size), image_seq_length=256)
        self.processor = MMPRMProcessor(base, prompt_format="reference_eval")
        config = InternVLConfig(
            vision_config=InternVLVisionConfig(
                hidden_size=size.vision_hidden_size,
                intermediate_size=size.vision_intermediate_size,
                num_hidden_layers=size.vision_num_layers,
                num_attention_heads=size.vision_num_heads,
                image_size=[448, 448],
                patch_size=[14, 14],
            ),
            text_config=LlamaConfig(
                vocab_size=size.vocab_size,
                hidden_size=size.hidden_size,
                intermediate_size=size.intermediate_size,
                num_hidden_layers=size.num_hidden_layers,
                num_attention_heads=size.num_attention_heads,
                num_key_value_heads=size.num_key_value_heads,
                max_position_embeddings=32768,
                pad_token_id=0,
            ),
            image_token_id=base.image_token_id,
            downsample_ratio=0.5,
        )
        with torch.device(device):
            torch.set_default_dtype(getattr(torch, dtype))
            self.policy = InternVLForConditionalGeneration(config).eval()
            torch.set_default_dtype(torch.float32)
        self.policy.set_attn_implementation({"text_config": attention, "vision_config": "sdpa"})
        rows = [self.processor.positive_token_id, self.processor.negative_token_id]
        with torch.device("meta"):
            prm = MMPRMModel(MMPRMConfig(vlm_config=config, marker_token_id=self.processor.marker_token_id))
        prm.vlm, prm.score.weight = self.policy.model, torch.nn.Parameter(self.policy.lm_head.weight[rows].clone())
        rng = random.Random(0)

        def words(count: int) -> str:
            return " ".join(f"w{rng.randrange(size.vocab_size - 20)}" for _ in range(count))

        figure = Image.effect_noise((1344, 448), 60).convert("RGB")  # three tiles and a thumbnail
        self.problem = Problem(id="bench", question=words(PROMPT_WORDS), images=(figure,))
        self.solutions = [tuple(words(NUM_STEP_TOKENS - 1) for _ in range(NUM_STEPS)) for _ in range(NUM_CANDIDATES)]
        self.scorer = PRMScorer(prm.eval(), self.processor)
        self.rows = rows

    def ours(self):
        """Scores (candidates, steps) from `PRMScorer`, images and tokens processed anew."""
        return self.torch.tensor(self.scorer.score_solutions([self.problem], [self.solutions])[0])

    def plain(self):
        """Scores (candidates, steps) as published: minibatches with the figure repeated, full-vocabulary logits."""
        torch, scores = self.torch, []
        with torch.inference_mode():
            for start in range(0, NUM_CANDIDATES, MINIBATCH):
                steps = [list(s) for s in self.solutions[start : start + MINIBATCH]]
                images, questions = [list(self.problem.images)] * len(steps), [self.problem.question] * len(steps)
                batch = self.processor(images=images, text=questions, steps=steps, padding_side="left")
                batch = batch.to(self.policy.device, self.policy.dtype)
                logits = self.policy(**batch, use_cache=False).logits.float()
                at_markers = logits[batch["input_ids"] == self.processor.marker_token_id]
                scores.append(at_markers[:, self.rows].softmax(-1)[:, 0].view(len(steps), -1).cpu())
        return torch.cat(scores)

    def unique(self):
        """One causal row with as many tokens as there are distinct ones, the figure once: what ours may hope for."""
        joined = [step for solution in self.solutions for step in solution]
        with self.torch.inference_mode():
            batch = self.processor(images=list(self.problem.images), text=self.problem.question, steps=joined)
            model = self.scorer.model
            return model(**batch.to(model.device), use_cache=False).logits.cpu()

    def num_tokens(self) -> tuple[int, int]:
        """(plain, unique) tokens."""
        from mmprm_hf.scoring import pack_prefix_tree

        (rows,), _ = self.processor.encode_solutions([self.problem.question], [self.problem.images], [self.solutions])
        whole = [[i for piece in pieces for i in piece] for pieces in rows]
        return sum(map(len, whole)), len(pack_prefix_tree(whole))


def measure_seconds(bench: Bench, rounds: int) -> tuple[dict[str, float], float, tuple[float, float]]:
    """``(median seconds by way, largest score difference, per-round ratios)``; the ways take turns in every round."""
    scores_by_way = {way: getattr(bench, way)() for way in WAYS}  # warm up
    difference = (scores_by_way["plain"] - scores_by_way["ours"]).abs().max().item()
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            start = time.perf_counter()
            getattr(bench, way)()
            seconds[way].append(time.perf_counter() - start)
    turns = list(zip(*(seconds[way] for way in WAYS), strict=True))
    speedup = statistics.median(plain / ours for plain, ours, _ in turns)
    overhead = statistics.median(ours / unique for _, ours, unique in turns)
    return {way: statistics.median(seconds[way]) for way in WAYS}, difference, (speedup, overhead)


def measure_memory(way: str, options: argparse.Namespace) -> float:
    """Peak bytes that one way adds to the loaded models, in a process of its own."""
    command = [sys.executable, __file__, "--memory-of", way]
    for name in ("shape", "device", "dtype", "attention"):
        command += [f"--{name}", getattr(options, name)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def _print_memory(way: str, bench: Bench, device: str) -> None:
    if device == "cuda":
        cuda = bench.torch.cuda
        cuda.reset_peak_memory_stats()
        before = cuda.memory_allocated()
        getattr(bench, way)()
        print(cuda.max_memory_allocated() - before)
        return
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # the peak so far is forgotten (Linux)
    before = _status_bytes("VmRSS")
    getattr(bench, way)()
    print(_status_bytes("VmHWM") - before)


def _status_bytes(name: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def score_16_candidates(options: argparse.Namespace | None = None) -> list[dict]:
    """Rows of the performance table."""
    options = options or parse([])
    bench = Bench(options.shape, options.device, options.dtype, options.attention)
    seconds, difference, (speedup, overhead) = measure_seconds(bench, options.rounds)
    plain_tokens, unique_tokens = bench.num_tokens()
    layout = bench.scorer.layout
    del bench
    peaks = {way: measure_memory(way, options) / 2**20 for way in ("plain", "ours")}
    setting = f"{options.shape}, {options.device}, {options.dtype}, {options.attention}, layout {layout}"
    return [
        {
            "name": "score_16_candidates",
            "ours": round(seconds["ours"], 4),
            "baseline": round(seconds["plain"], 4),
            "ratio": round(speedup, 3),
            "unit": "s",
            "detail": f"{setting}; {plain_tokens:,} tokens become {unique_tokens:,}; max difference {difference:.0e}",
        },
        {
            "name": "score_16_unique",
            "ours": round(seconds["ours"], 4),
            "baseline": round(seconds["unique"], 4),
            "ratio": round(1 / overhead, 3),
            "unit": "s",
            "detail": f"baseline: the unique tokens as one causal row; ours takes {overhead:.2f} x its time",
        },
        {
            "name": "score_16_memory",
            "ours": round(peaks["ours"], 1),
            "baseline": round(peaks["plain"], 1),
            "ratio": round(peaks["plain"] / peaks["ours"], 3),
            "unit": "MiB",
            "detail": "peak above the loaded models, each in a process of its own",
        },
    ]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default=None, help="default: bfloat16 for 8b")
    parser.add_argument("--attention", choices=["sdpa", "eager", "flex_attention"], default="sdpa")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-of", choices=WAYS, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.dtype = options.dtype or ("bfloat16" if options.shape == "8b" else "float32")
    return options


def main() -> None:
    options = parse(None)
    if options.memory_of:
        bench = Bench(options.shape, options.device, options.dtype, options.attention)
        _print_memory(options.memory_of, bench, options.device)
    else:
        print(json.dumps(score_16_candidates(options), indent=2))


if __name__ == "__main__":
    main()
