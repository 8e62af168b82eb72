"""Inputs that do harm or make no sense, as files, and the program run on them in processes that may die."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import shutil
import sys
import time
from pathlib import Path

from PIL import Image

GOOD = {"id": "good", "question": "What is A?", "answer": "5", "images": ["figure.png"], "solution": "A=5"}
NAN = float("nan")
DEEP = "[" * 200_000 + "]" * 200_000


def cut_jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((144, 144), 90).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()[:-200]


def write_figures(folder: Path) -> None:
    """A whole figure, and some that are not figures, in a folder; one beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (144, 144), "white").save(folder / "figure.png")
    (folder / "cut.jpg").write_bytes(cut_jpeg())
    (folder / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n")
    (folder / "text.png").write_text("no figure")
    (folder.parent / "secret.png").write_bytes((folder / "figure.png").read_bytes())


def bad_rows() -> dict[str, dict]:
    """Rows of problems of which each has one fault, by the fault."""
    changes = {
        "answer is NaN": {"answer": NAN},
        "question is NaN": {"question": NAN},
        "question is a list": {"question": ["What", "is"]},
        "question is a half character": {"question": "What is \ud800?"},
        "question is endless": {"question": "What is A? " * 20_000},
        "options are NaN": {"options": NAN},
        "options are a number": {"options": 4},
        "options are objects": {"options": [{"a": 1}, None, [2]]},
        "answer is an object": {"answer": {"value": 5}},
        "answer type is a number": {"answer_type": 5},
        "id is a list": {"id": ["a", "b"]},
        "images are a number": {"images": 5},
        "images are NaN": {"images": NAN},
        "an image is None": {"images": ["figure.png", None]},
        "an image is missing": {"images": ["none.png"]},
        "an image is cut": {"images": ["cut.jpg"]},
        "an image is a program": {"images": ["program.png"]},
        "an image is a text": {"images": ["text.png"]},
        "an image is outside": {"images": ["../secret.png"]},
        "an image is a device": {"images": ["/dev/zero"]},
        "an image is a file address outside": {"images": ["file:///etc/passwd"]},
        "an image is an address": {"images": ["http://169.254.169.254/latest/figure.png"]},
        "an image is bytes that are a text": {"images": [{"bytes": "no Base64!", "path": None}]},
        "an image is bytes that are a number": {"images": [{"bytes": 5, "path": None}]},
        "an image is a path outside": {"images": [{"bytes": None, "path": "/etc/passwd"}]},
        "an image has nothing": {"images": [{"bytes": None, "path": None}]},
        "an image is a nested list": {"images": [[["figure.png"]]]},
        "a name holds a null": {"images": ["a\0b.png"]},
        "solution is a number": {"solution": 5.5},
        "solution is a list": {"solution": ["A=5"]},
    }
    return {name: {**GOOD, "id": name, **change} for name, change in changes.items()}


def row_files(folder: Path) -> dict[str, Path]:
    """Files of rows that are broken as files, by what is wrong, figures beside them."""
    write_figures(folder)
    good = json.dumps(GOOD)
    texts = {
        "null.jsonl": "null",
        "null.json": "null",
        "empty.jsonl": "",
        "empty-list.json": "[]",
        "list-of-null.json": "[null]",
        "number.json": "5",
        "null-row.jsonl": f"{good}\nnull\n",
        "torn.jsonl": f'{good}\n{{"id": ',
        "deep.jsonl": f'{{"a": {DEEP}}}\n',
        "deep.json": DEEP,
        "digits.jsonl": '{"id": ' + "9" * 10_000 + "}\n",
        "no-columns.jsonl": "{}\n{}\n",
        "cells.csv": 'id,question,answer\n1,"What is A?",5\n2,What is,B?,5\n',
        "quote.csv": 'id,question\n1,"What is\n',
        "garbage.parquet": "PAR1 garbage PAR1",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "binary.jsonl").write_bytes(bytes(range(256)) * 40)
    (folder / "wide.jsonl").write_bytes(f"{good}\n".encode("utf-16"))
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(f"{good}\n".encode() * 5000)[:-30])
    (folder / "bomb.jsonl.gz").write_bytes(gzip.compress(b" " * 70_000_000 + b"{}"))
    return {path.name: path for path in sorted(folder.iterdir()) if path.suffix not in (".png", ".jpg")}


def row_folders(folder: Path) -> dict[str, Path]:
    """Folders of datasets whose files `datasets` fails on, or that end its process."""
    folders = {}
    for name, text in (("null", "null"), ("deep", f'{{"a": {DEEP}}}\n'), ("number", "5"), ("mixed", '{"a": 1}\n[2]\n')):
        for ending in ("json", "jsonl"):
            path = folder / f"{name}-{ending}" / f"train.{ending}"
            path.parent.mkdir(parents=True)
            path.write_text(text)
            folders[path.parent.name] = path.parent
    (folder / "nothing").mkdir()
    return {**folders, "nothing": folder / "nothing"}


def configurations(folder: Path) -> dict[str, Path]:
    """YAML files that are no configuration, or ask for too much."""
    laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    texts = {
        "null": "null",
        "list": "- a\n- b\n",
        "text": "hello",
        "torn": "a: [1, 2",
        "tabs": "a:\n\t- b\n",
        "date": "seed: 2026-13-45\n",
        "itself": "a: &a [*a]\n",
        "laughs": laughs,
        "deep": "a: " + "[" * 20_000 + "]" * 20_000,
        "python": "seed: !!python/object/apply:os.getcwd []\n",
        "unknown": "no_such_option: 1\n",
        "huge": "num_candidates: 1000000000\n",
        "seed": "seed: [1]\n",
        "negative": "num_candidates: -1\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "binary.yaml").write_bytes(bytes(range(256)))
    return {path.stem: path for path in sorted(folder.iterdir())}


def label_configurations(folder: Path) -> dict[str, Path]:
    """YAML files with options of a labelling run that no run can have."""
    options = ("num_rollouts: 1000000000", "num_rollouts: 1e9", "num_rollouts: .nan", "max_rollouts: 100000000")
    options += ("max_new_tokens: 1000000000000", "num_rollouts: many", "temperature: .inf", "top_p: -1")
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for number, option in enumerate(options):
        paths[option] = folder / f"{number}.yaml"
        paths[option].write_text(option + "\n")
    return paths


def candidate_files(folder: Path) -> dict[str, Path]:
    """Files of candidates with a fault each."""
    candidate = {"steps": ["A=5"], "answer": "5", "complete": True, "verdict": "correct", "step_scores": [0.5]}
    row = {"problem_id": "p", "question": "q", "answer": "5", "figures": [], "candidates": [candidate], "chosen": 0}
    rows = {
        "null": None,
        "list": [row],
        "no id": {"candidates": []},
        "candidates are a number": {**row, "candidates": 5},
        "a candidate is null": {**row, "candidates": [None]},
        "steps are a text": {**row, "candidates": [{**candidate, "steps": "A=5"}]},
        "steps are numbers": {**row, "candidates": [{**candidate, "steps": [5]}]},
        "scores are texts": {**row, "candidates": [{**candidate, "step_scores": ["0.5"]}]},
        "scores are NaN": {**row, "candidates": [{**candidate, "step_scores": [NAN]}]},
        "verdict is a list": {**row, "candidates": [{**candidate, "verdict": ["correct"]}]},
        "answer is an object": {**row, "candidates": [{**candidate, "answer": {}}]},
        "gold is a list": {**row, "answer": ["5"]},
        "chosen is far": {**row, "chosen": 7},
        "chosen is a text": {**row, "chosen": "0"},
        "greedy is a list": {**row, "greedy": [1]},
        "figures are a number": {**row, "figures": 5},
        "a figure is outside": {**row, "figures": ["../secret.png", "/etc/passwd"]},
        "error is a number": {**row, "candidates": [], "error": 5},
        "subject is a list": {**row, "subject": ["a"]},
        "tokens are texts": {**row, "num_tokens": "many", "seconds": "long"},
    }
    paths = {}
    for number, (name, content) in enumerate(rows.items()):
        path = folder / str(number) / "candidates.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content) + "\n")
        paths[name] = path
    return paths


def checkpoints(folder: Path, source: Path) -> dict[str, Path]:
    """Copies of a PRM's checkpoint with a fault each."""
    faults = {
        "config is null": ("config.json", "null"),
        "config is torn": ("config.json", '{"model_type": "mm_p'),
        "config is a list": ("config.json", "[]"),
        "config is empty": ("config.json", "{}"),
        "config has an odd dtype": ("config.json", lambda text: text.replace('"float32"', '"float7"')),
        "weights are cut": ("model.safetensors", lambda data: data[: len(data) // 2]),
        "weights are a pickle": ("model.safetensors", b"\x80\x04\x95garbage."),
        "weights are empty": ("model.safetensors", b""),
        "processor is null": ("processor_config.json", "null"),
        "processor is a list": ("processor_config.json", "[1]"),
        "tokenizer is torn": ("tokenizer.json", '{"version": '),
        "tokenizer is null": ("tokenizer.json", "null"),
        "template is broken": ("chat_template.jinja", "{% for message in messages %}{{ message["),
        "template divides by zero": ("chat_template.jinja", "{{ 1 // 0 }}"),
    }
    paths = {}
    for number, (name, (file_name, content)) in enumerate(faults.items()):
        path = folder / str(number)
        shutil.copytree(source, path)
        file = path / file_name
        if callable(content):
            data = file.read_bytes()
            content = content(data.decode()) if file.suffix == ".json" else content(data)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        paths[name] = path
    (folder / "nothing").mkdir()
    return {**paths, "nothing": folder / "nothing"}


def solutions(folder: Path) -> dict[str, Path]:
    """Files of solutions that cannot be scored."""
    texts = {
        "empty": "",
        "long": "A=5\n" * 25_000,
        "deep": DEEP,
        "open tag": "<step>A=5",
        "list": "[5]",
        "null": "[null]",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "binary").write_bytes(bytes(range(256)))
    return {path.name: path for path in sorted(folder.iterdir())}


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a run of the program ended: exit code, signal (0 for none), what it printed, and its seconds."""

    code: int
    signal: int
    output: str
    seconds: float

    def fault(self) -> str | None:
        """Why this is no ending that a user should see; None for a good one."""
        lines = [line for line in self.output.splitlines() if line.startswith("mmprm: ")]
        if self.signal:
            return f"ended by signal {self.signal}"
        if "Traceback" in self.output:
            return "printed a traceback"
        if self.code not in (0, 1, 2):
            return f"ended with code {self.code}"
        if any(line.startswith("mmprm: unexpected") for line in lines):
            return f"no rule foresaw it: {lines[-1][:300]}"
        if self.code == 1 and (not lines or "[Errno" in lines[-1] or len(lines[-1]) > 1500):
            return f"no sentence: {self.output[-300:]!r}"
        return None


def run_forked(*words: object, most_seconds: float = 60.0) -> Ending:
    """`mmprm` with these words in a forked process, which may die."""
    from mmprm_hf.cli import app

    reading, writing = os.pipe()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        sys.stdout, sys.stderr = (
            os.fdopen(fd, "w", encoding="utf-8", errors="replace", closefd=False) for fd in (1, 2)
        )
        code = 99
        try:
            app([*map(str, words)])
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        except BaseException:  # noqa: BLE001 (the process ends here; what it raised is what is looked for)
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8", errors="replace") as printed:
        output = printed.read()
    _, status = os.waitpid(child, 0)
    seconds = time.monotonic() - start
    code, signal = (os.waitstatus_to_exitcode(status), 0) if os.WIFEXITED(status) else (-1, os.WTERMSIG(status))
    if seconds > most_seconds:
        output += f"\nTraceback: took {seconds:.0f} s"
    return Ending(code, signal, output, seconds)
