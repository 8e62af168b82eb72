"""Facts of the nano dataset's card, for any number of problems; its words lie in ``templates/nano_dataset.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..nano import FAMILIES
from .template_files import template_facts


def nano_dataset_facts(splits: Mapping[str, int]) -> dict[str, Any]:
    """Return facts for `render_dataset_card`.

    Args:
        splits: Split to number of problems.
    """
    facts = template_facts("nano_dataset.json")
    files = [{"split": split, "path": f"{split}.parquet"} for split in splits]
    facts["sources"][0]["num_rows"] = sum(splits.values())
    return facts | {
        "splits": dict(splits),
        "families": {name: (maker.__doc__ or "").strip() for name, maker in FAMILIES.items()},
        "configs": [{"config_name": "default", "data_files": files, "default": True}],
    }
