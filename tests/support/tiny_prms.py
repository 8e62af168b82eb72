"""PRMs of tiny policies with a batch each, made once per process, for the tests of heads, saving and adapters."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from typing import Any

import torch

from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from support.backbones import BACKBONES, save
from support.tiny_models import make_figure

QUESTION, STEPS = "What is x?", ["x = 2 + 3", "so x = 5", "it is 5"]
LABELS = [0.9, 0.1, -100.0]  # of the three steps
FAMILIES = ("llama", "llava", "gemma3")  # text, and two whose keys on disk are not their names in memory
CASES = (  # every family and every head, without all pairs
    ("llama", "two_token"),
    ("llama", "sigmoid"),
    ("llama", "mlp"),
    ("llava", "mlp"),
    ("gemma3", "two_token"),
)


@dataclasses.dataclass(frozen=True)
class TinyPRM:
    """A policy's folder (it knows the marker), its processor and the inputs of one solution."""

    policy_dir: str
    processor: MMPRMProcessor
    batch: dict[str, Any]

    def model(self, head_type: str = "two_token", **kwargs: Any) -> MMPRMModel:
        """A new PRM from the policy; seeded, because an MLP head starts at random."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return MMPRMModel.from_policy(self.policy_dir, self.processor, head_type, **kwargs)

    def saved(self, folder: Any, head_type: str = "two_token") -> str:
        """Save such a PRM with its processor; return the folder's path."""
        self.model(head_type).save_pretrained(folder)
        self.processor.save_pretrained(folder)
        return str(folder)

    def labels(self) -> torch.Tensor:
        """(1, seq): `LABELS` at the markers."""
        labels = torch.full(self.batch["input_ids"].shape, -100.0)
        labels[self.batch["input_ids"] == self.processor.marker_token_id] = torch.tensor(LABELS)
        return labels


@functools.cache
def tiny_prm(family: str) -> TinyPRM:
    folder = save(family, tempfile.mkdtemp(), with_marker=True)
    processor = MMPRMProcessor.from_policy(folder)
    images = make_figure(1) if BACKBONES[family].has_images else None
    return TinyPRM(folder, processor, dict(processor(images=images, text=QUESTION, steps=STEPS)))


def assert_same_scores(scores: torch.Tensor, expected: torch.Tensor) -> None:
    """Compare float32 scores that come of the same numbers, added in another order: weights that were read from a file
    are aligned otherwise in memory, and an adapter adds its part separately. Sums have up to 100 terms."""
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def scores_of(model: Any, prm: TinyPRM) -> torch.Tensor:
    """(3,) step scores of the one solution, dropout off."""
    return model.eval()(**prm.batch).step_scores()[0]


@torch.no_grad()
def policy_scores(policy: Any, prm: TinyPRM) -> torch.Tensor:
    """(3,) the policy's own softmax over Yes and No at the markers."""
    logits = policy.eval()(**prm.batch).logits[prm.batch["input_ids"] == prm.processor.marker_token_id]
    return logits[:, [prm.processor.positive_token_id, prm.processor.negative_token_id]].softmax(-1)[:, 0]
