"""The label dataset on disk: ``paths/{split}.parquet``, ``trees/{split}.parquet`` and the README that names them.

`load_dataset(folder)` gives the paths, `load_dataset(folder, "trees")` the trees. Files appear whole or not at all,
and a split that has no rows any more leaves no file behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmprm_hf.data import Problem, SearchTree
from mmprm_hf.files import write_json
from mmprm_hf.labelling.label_rows import Row, label_features
from mmprm_hf.labelling.label_selection import DROP_RULES, LabelRowsConfig, iter_label_rows, split_of
from mmprm_hf.labelling.label_statistics import JudgeCounts, LabelCounts
from mmprm_hf.labelling.label_trees import tree_features, tree_to_row
from mmprm_hf.labelling.labelled_problems import LabelledProblems

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation")
CONFIGS = ("paths", "trees")  # the first one is the default
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")

_README = """# Step labels

- `paths`: one solution path a row, a label for each step (`prompt`, `completions`, `labels`; MC estimates in [0, 1],
  -100 where there is none), the counts behind it, where they come from, and a weight for each distinct prefix.
- `trees`: one search tree a row, as the paths were made from.

`run.json` and `rows.json` say how they were made, `statistics.json` describes the paths.
"""


def write_label_dataset(
    problems: Sequence[Problem], trees: Iterable[SearchTree], folder: Path, config: LabelRowsConfig | None = None
) -> dict[str, Any]:
    """Write trees and the rows made of them as a dataset, and return the rows' statistics.

    Writes ``paths/`` and ``trees/`` (both by split, both split by problem), ``README.md``, ``statistics.json`` and
    ``rows.json`` (the resolved configuration). Made again with other options, all of them are replaced.

    A tree whose problem is not given, or has another content by now (its gold answer was corrected, say), is left out
    and counted (`num_trees_left_out`). Figures keep their bytes: files and the undecoded form of `datasets` are copied,
    Pillow images written as PNG.

    Args:
        problems: The problems that were labelled; of a lazy sequence one at a time is in memory.
        trees: Their trees, those of one problem next to each other. Gone through two or three times, one problem in
            memory at a time; an iterator, which cannot be, is listed.
        folder: The label folder, made if absent.
        config: None takes the defaults: all rows of problems that are solved sometimes, nothing held out.

    Raises:
        ValueError: if the trees give no row, or none to train on.
    """
    config = config or LabelRowsConfig()
    found = list(trees) if isinstance(trees, Iterator) else trees
    labelled = LabelledProblems(problems)
    num_left_out, judge = 0, JudgeCounts(config.consensus_threshold)
    # Paths first: trees that give none leave the folder as it was.
    counts, num_dropped = LabelCounts(), Counter()
    path_rows = _path_rows(labelled, _Trees(found, labelled), folder, config, counts, num_dropped)
    num_rows = write_splits(folder / "paths", path_rows, label_features())

    def tree_rows() -> Iterator[tuple[str, dict[str, Any]]]:
        nonlocal num_left_out
        for tree in found:
            if not labelled.has(tree):
                num_left_out += 1
                continue
            judge.add(tree)
            split = split_of(labelled.of(tree), config.validation_share, config.seed)
            yield split, tree_to_row(tree, rollouts=config.tree_rollouts)

    write_splits(folder / "trees", tree_rows(), tree_features(rollouts=config.tree_rollouts), rows_in_memory=16)
    if num_left_out:
        logger.warning(
            "%d trees in %s belong to no problem given, or to an earlier version of one; they give no rows.",
            num_left_out,
            folder,
        )
    write_readme(folder)
    statistics = {
        **counts.statistics(),
        "num_rows_by_split": num_rows,
        "num_dropped_rows": {rule: num_dropped[rule] for rule in DROP_RULES},
        "num_trees_left_out": num_left_out,
        "judge": judge.statistics(),
    }
    write_json(folder / "statistics.json", statistics)
    write_json(folder / "rows.json", dataclasses.asdict(config))
    return statistics


@dataclasses.dataclass(frozen=True)
class _Trees:
    """The trees whose problems are there, without their rollouts; can be gone through again."""

    trees: Iterable[SearchTree]
    labelled: LabelledProblems

    def __iter__(self) -> Iterator[SearchTree]:
        return (dataclasses.replace(tree, rollouts=()) for tree in self.trees if self.labelled.has(tree))


def _path_rows(
    labelled: LabelledProblems,
    trees: Iterable[SearchTree],
    folder: Path,
    config: LabelRowsConfig,
    counts: LabelCounts,
    num_dropped: Counter[str],
) -> Iterator[tuple[str, Row]]:
    """Rows with their split, counted as they pass; raises at the end if there is nothing to train on."""
    num_rows: Counter[str] = Counter()
    for split, rows in iter_label_rows(labelled, trees, config, num_dropped):
        counts.add_problem(rows)
        images = [_figure(image) for image in rows[0]["images"]]  # once per problem: each row holds its figures
        num_rows[split] += len(rows)
        for row in rows:
            yield split, {**row, "images": images}
    _check_rows(num_rows["train"], num_rows["validation"], folder, config)


def _figure(image: Any) -> Any:
    """A figure as `datasets` stores it, without a second lossy compression: Pillow images become PNG."""
    from PIL import Image

    from mmprm_hf.models.images_mm_prm import upright

    if not isinstance(image, Image.Image):
        return image
    image, buffer = upright(image), io.BytesIO()  # a PNG has no tag that would turn it
    (image if image.mode in _PNG_MODES else image.convert("RGB")).save(buffer, format="PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def _check_rows(num_train: int, num_validation: int, folder: Path, config: LabelRowsConfig) -> None:
    if num_train:
        return
    if num_validation:
        raise ValueError(
            f"All {num_validation} label rows of {folder} are held out by validation_share={config.validation_share}; "
            "there must be some to train on. Lower it, label more problems, or choose another seed."
        )
    raise ValueError(
        f"The trees in {folder} give no label row: every problem was solved always or never, or no label is left "
        "under the options of LabelRowsConfig. Label more problems, raise num_rollouts, or sample with another "
        "temperature."
    )


def write_splits(
    folder: Path,
    rows: Iterable[tuple[str, dict[str, Any]]],
    features: datasets.Features,
    *,
    rows_in_memory: int | None = None,
) -> dict[str, int]:
    """Write rows to ``folder/{split}.parquet`` as they come, figures embedded.

    Args:
        folder: Made if absent; parquet files of splits without rows are removed from it.
        rows: Pairs of a split's name ("train" or "validation") and a row.
        features: Of the rows.
        rows_in_memory: The most rows of a split held before they are written; None: as many as `datasets` finds right.

    Returns:
        Rows per split, splits without rows left out.
    """
    from datasets.arrow_writer import ParquetWriter

    folder.mkdir(parents=True, exist_ok=True)
    drafts = {split: folder / f"{split}.parquet.part" for split in SPLITS}
    writers: dict[str, ParquetWriter] = {}
    num_rows = dict.fromkeys(SPLITS, 0)
    try:
        with contextlib.ExitStack() as stack:
            for split, row in rows:
                if split not in writers:
                    writer = ParquetWriter(
                        features=features,
                        path=str(drafts[split]),
                        embed_local_files=True,
                        writer_batch_size=rows_in_memory,
                    )
                    writers[split] = stack.enter_context(writer)
                writers[split].write(features.encode_example(row))
                num_rows[split] += 1
            for writer in writers.values():
                writer.finalize()
        for split, draft in drafts.items():
            if split in writers:
                draft.replace(folder / f"{split}.parquet")
            else:
                (folder / f"{split}.parquet").unlink(missing_ok=True)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    return {split: count for split, count in num_rows.items() if count}


def write_readme(folder: Path) -> None:
    """Write (or correct) the ``configs`` metadata in the README.md of a folder; the rest of an existing card stays."""
    from huggingface_hub import DatasetCard

    path = folder / "README.md"
    card = DatasetCard.load(path) if path.exists() else DatasetCard(f"---\nconfigs: []\n---\n{_README}")
    card.data.configs = _configs(folder)
    card.save(path)


def _configs(folder: Path) -> list[dict[str, Any]]:
    """What is on disk, as the Hub's dataset metadata has it.

    The description holds a hash of the files: where a README names the configs, `load_dataset` (datasets 5.2) keys its
    cache by this metadata and the folder's name alone, and would give the rows of an older file of the same name.
    """
    configs = []
    for name in CONFIGS:
        files = [
            {"split": split, "path": f"{name}/{split}.parquet"}
            for split in SPLITS
            if (folder / name / f"{split}.parquet").exists()
        ]
        if files:
            digest = hashlib.sha256()
            for file in files:
                with (folder / file["path"]).open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
            config = {"config_name": name, "description": f"sha256:{digest.hexdigest()[:16]}", "data_files": files}
            configs.append({**config, **({"default": True} if not configs else {})})
    return configs
