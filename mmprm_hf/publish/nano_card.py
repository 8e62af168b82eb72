"""Facts of the nano dataset's card, for any number of problems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..nano import FAMILIES

NANO_MISUSE = (
    "Anything outside the nano world: no statement about real problems, pupils or other models follows from it."
)


def nano_dataset_facts(splits: Mapping[str, int]) -> dict[str, Any]:
    """Facts for `render_dataset_card`.

    Args:
        splits: Split to number of problems.
    """
    return {
        "kind": "dataset",
        "name": "Nano K12 problems",
        "summary": "Procedural problems with a rendered figure, an exact answer and (in `mmprm_hf.nano`) an exact step "
        "checker. The numbers needed stand only in the figure. Same shape as MM-K12.",
        "motivation": "To run every stage of the method on a laptop without a download, and to measure what real data "
        "cannot tell: whether a step is right, and so how noisy step labels are.",
        "splits": dict(splits),
        "features": {
            "id": "string; `mmprm_hf.nano.world.problem_from_id` rebuilds the problem",
            "images": "list of images, one figure of 144 x 144 pixels",
            "question": "string",
            "options": "list of strings, empty",
            "answer": "string, a number",
            "answer_type": "string, `number`",
            "subject": "string, the family",
            "grade": "int, 6",
            "source": "string, `nano`",
            "license": "string",
            "split_group": "string, hash of all that is asked and shown (style excluded); the splits share none",
        },
        "families": {name: (maker.__doc__ or "").strip() for name, maker in FAMILIES.items()},
        "collection": "Nothing was collected. A generator draws family, numbers, places and style from a seed; figure, "
        "question, answer and step checker follow from them. A hash of what is shown and asked gives the split.",
        "sources": [
            {
                "name": "`mmprm_hf.nano`",
                "license": "apache-2.0",
                "num_rows": sum(splits.values()),
                "note": "Drawn by this package.",
            }
        ],
        "command": "mmprm data --output out/nano/data",
        "seed": 0,
        "repairs": {"nothing: problems are drawn, not read": 0},
        "statistics": {"figures a problem": 1, "pixels of a figure": "144 x 144"},
        "how_to_use": 'from datasets import load_dataset\n\ndataset = load_dataset("out/nano/data")',
        "uses": [
            "Trying, testing and timing labelling, training and reranking.",
            "Measuring label noise and step scores against exact truth.",
        ],
        "misuses": [NANO_MISUSE, "A benchmark of real mathematical ability."],
        "limits": ["Synthetic: eleven families, short English questions, no text beyond two characters in figures."],
        "license": "apache-2.0",
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"{split}.parquet"} for split in splits],
                "default": True,
            }
        ],
        "language": ["en"],
        "task_categories": ["visual-question-answering"],
    }


__all__ = ["NANO_MISUSE", "nano_dataset_facts"]
