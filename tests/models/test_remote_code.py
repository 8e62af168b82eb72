"""Checkpoints without the package: one process, in which importing it fails, loads them all as remote code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.backbones import BACKBONES, missing_packages
from support.conformance import QUESTIONS, SOLUTIONS, TOLERANCE, assert_equivalent, make_case, oracle
from support.hub_stub import serve_hub
from support.layout import ROOT
from support.original_internvl import write_original
from support.tiny_models import make_figure
from support.tiny_prms import CASES, QUESTION, STEPS, scores_of, tiny_prm

from mmprm_hf.families import convert_internvl
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.nano import PRM_PATH, make_problem

AVAILABLE = [name for name in BACKBONES if not missing_packages(name)]
SCRIPT = f"""
import json, os, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
sys.modules["mmprm_hf"] = None  # any import of the package fails
from support.backbones import enable_torchvision
enable_torchvision(os.environ.get("MMPRM_EXTRAS"))
import torch
from transformers import AutoModel, AutoProcessor
for name, place, figures, question, steps, again in json.loads(sys.stdin.read()):
    for folder in filter(None, (place, again)):
        model = AutoModel.from_pretrained(folder, trust_remote_code=True)
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
        with torch.no_grad():
            output = model(**processor(images=figures or None, text=question, steps=steps))
        print("SCORES", json.dumps([name, output.step_scores()[0].tolist()]))
        if again and folder != again:
            model.save_pretrained(again)
            processor.save_pretrained(again)
"""


def scores_without_the_package(jobs: list, folder: Path, hub_url: str) -> dict[str, list[list[float]]]:
    """Scores by name, in the order of loading, of jobs ``(name, folder or hub id, figures, question, steps, again)``.

    `again` is a folder to save to and load from once more, or None.
    """
    env = {**os.environ, "HF_HOME": str(folder / "home"), "HF_MODULES_CACHE": str(folder / "modules")}
    env |= {"HF_ENDPOINT": hub_url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, env=env, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    scores_by_name: dict[str, list[list[float]]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("SCORES "):
            name, scores = json.loads(line.removeprefix("SCORES "))
            scores_by_name.setdefault(name, []).append(scores)
    return scores_by_name


def push_and_load(folder: str, cache: Path) -> list[torch.Tensor]:
    """Scores of the PRM in a folder, pushed to the Hub in both ways and loaded from there, with the package."""
    model, processor = MMPRMModel.from_pretrained(folder), MMPRMProcessor.from_pretrained(folder)
    model.push_to_hub("me/prm")
    processor.push_to_hub("me/prm")
    model.save_pretrained(cache / "by_saving", push_to_hub=True, repo_id="me/by-saving")
    processor.save_pretrained(cache / "by_saving", push_to_hub=True, repo_id="me/by-saving", commit_message="Add it")
    scores = []
    for name in ("me/prm", "me/by-saving"):
        loaded = MMPRMModel.from_pretrained(name, cache_dir=cache)
        batch = MMPRMProcessor.from_pretrained(name, cache_dir=cache)(images=make_figure(1), text=QUESTION, steps=STEPS)
        with torch.no_grad():
            scores.append(loaded(**batch).step_scores()[0])
    return scores


def test_the_shipped_prm_has_the_code_of_the_package():
    """Links, so that there is one text of it; a wheel and the Hub get files."""
    package = ROOT / "mmprm_hf/models"
    shipped = {path.name: path.read_text() for path in PRM_PATH.glob("*.py")}
    assert shipped == {path.name: path.read_text() for path in package.glob("*_mm_prm.py")}
    assert all(path.samefile(package / path.name) for path in PRM_PATH.glob("*.py"))


@pytest.mark.processes
def test_remote_code_gives_the_same_scores_without_the_package(tmp_path, tiny_prm_dir, monkeypatch):
    jobs, expected = [], {}
    make_figure(1).save(tmp_path / "figure.png")
    for name in AVAILABLE:
        figures = []
        for index, image in enumerate(make_case(name).problems[2].images):
            figures.append(f"{name}{index}.png")
            image.save(tmp_path / figures[-1])
        jobs.append((name, make_case(name).prm_dir, figures, QUESTIONS[2], SOLUTIONS[0], None))
    for family, head_type in CASES:
        prm, name = tiny_prm(family), f"{family} {head_type}"
        expected[name] = scores_of(prm.model(head_type), prm).tolist()
        figures = ["figure.png"] if BACKBONES[family].has_images else []
        jobs.append((name, prm.saved(tmp_path / name, head_type), figures, QUESTION, STEPS, None))
    problem = make_problem("triangle_angle", 7)
    problem.figure().save(tmp_path / "nano.png")
    steps = ["A=22", "B=61", "A+B=22+61=93"]
    batch = MMPRMProcessor.from_pretrained(PRM_PATH)(images=problem.figure(), text=problem.question, steps=steps)
    with torch.no_grad():
        expected["shipped"] = MMPRMModel.from_pretrained(PRM_PATH)(**batch).step_scores()[0].tolist()
    jobs.append(("shipped", str(PRM_PATH), ["nano.png"], problem.question, steps, None))
    write_original(tmp_path / "original")
    convert_internvl(tmp_path / "original", tmp_path / "converted")
    for name, folder in (("new marker", tiny_prm_dir), ("tiles", tmp_path / "converted")):  # both are saved again
        batch = MMPRMProcessor.from_pretrained(folder)(images=make_figure(1), text=QUESTION, steps=STEPS)
        with torch.no_grad():
            expected[name] = MMPRMModel.from_pretrained(folder)(**batch).step_scores()[0].tolist()
        jobs.append((name, str(folder), ["figure.png"], QUESTION, STEPS, str(tmp_path / f"{name} again")))
    with serve_hub() as hub:
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        settings = {"ENDPOINT": hub.url, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_OFFLINE": False}
        for name, value in {**settings, "HF_HUB_DISABLE_XET": True}.items():
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        # The client of `push_to_hub` took its address when it was made, maybe by an earlier test: make a new one.
        monkeypatch.setattr("transformers.utils.hub._hf_api", None)
        expected["hub"] = expected["llava mlp"]
        for scores in push_and_load(jobs[len(AVAILABLE) + CASES.index(("llava", "mlp"))][1], tmp_path / "cache"):
            assert scores.tolist() == pytest.approx(expected["hub"], abs=TOLERANCE)
        jobs.append(("hub", "me/prm", ["figure.png"], QUESTION, STEPS, None))
        remote = scores_without_the_package(jobs, tmp_path, hub.url)
    assert set(remote) == {name for name, *_ in jobs}
    start = 2 * sum(map(len, SOLUTIONS))  # the oracle's scores of the third problem's first solution
    for name in AVAILABLE:
        scores = torch.tensor(remote[name][0])
        assert_equivalent(name, "remote", scores, oracle(name)[start : start + len(scores)])
    assert [len(remote[name]) for name in ("new marker", "tiles")] == [2, 2]
    for name, scores in expected.items():
        assert remote[name] == [pytest.approx(scores, abs=TOLERANCE)] * len(remote[name]), name
