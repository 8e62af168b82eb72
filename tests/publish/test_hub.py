"""Pushing to a Hub on loopback: what arrives, what is refused, and what an interruption leaves."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from support.layout import ROOT

from mmprm_hf.models import MMPRMModel
from mmprm_hf.nano import PRM_PATH
from mmprm_hf.publish import file_checks
from mmprm_hf.publish.hub import PushRefusedError, PushStoppedError, format_push, push

CARD = "---\nlicense: apache-2.0\n---\n\n# Tiny\n"
# Put together here, so that no scanner of this repository takes them for real ones.
SECRETS = {
    "a Hugging Face token": "hf_" + "aB" * 17,
    "an API key": "sk-" + "proj-aB3dE5gH7jK9mN1pQ3s",
    "an AWS key": "AKI" + "AIOSFODNN7EXAMPLE",
    "a GitHub token": "ghp" + "_" + "a1B2" * 9,
    "a GitLab token": "glpat" + "-" + "aB3dE5gH7jK9mN1pQ3sT",
    "a Google key": "AIz" + "a" + "B3dE5" * 7,
    "a Slack token": "xoxb" + "-1234567890-abcdef",
    "a private key": "-----BEGIN RSA PRIV" + "ATE KEY-----",
    "a bearer token": '"Authorization": "Bea' + 'rer abcdef0123456789abcdef"',
    "a password in a URL": "https://me:" + "pa55word@git.example.org/x.git",
}


def write_model(folder: Path, num_shards: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    (folder / "config.json").write_text('{"model_type": "mm_prm"}\n', encoding="utf-8")
    for index in range(num_shards):
        save_file({"weight": torch.full((4,), float(index))}, folder / f"model-{index}.safetensors")
    return folder


def write_dataset(folder: Path) -> Path:
    folder.mkdir()
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    columns = {"question": ["What?", "Which?"], "images": [[Image.new("RGB", (9, 7), (i, 2, 3))] for i in range(2)]}
    features = {"question": datasets.Value("string"), "images": datasets.List(datasets.Image())}
    datasets.Dataset.from_dict(columns, features=datasets.Features(features)).to_parquet(folder / "train.parquet")
    return folder


@pytest.mark.processes
def test_model_and_dataset_load_from_the_hub_in_a_fresh_process(hub, hub_environment, tmp_path):
    model = tmp_path / "prm"
    shutil.copytree(PRM_PATH, model)
    shutil.copy(ROOT / "model_cards/nano-prm/README.md", model)
    report = push(model, "me/nano-prm", kind="model", token="secret", message="first")
    assert hub.files("model", "me/nano-prm") == {
        ".gitattributes": b"",
        **{path.name: path.read_bytes() for path in model.iterdir()},
    }
    assert report["url"] == f"{hub.url}/me/nano-prm" and report["others"] == []
    assert report["commit"] == hub.repositories["model", "me/nano-prm"]["branches"]["main"]
    assert report["num_files"] == len(list(model.iterdir()))
    assert report["num_bytes"] == sum(path.stat().st_size for path in model.iterdir())
    assert "Bearer secret" in hub.tokens and "secret" not in repr(report)

    report = push(write_dataset(tmp_path / "rows"), "me/rows", kind="dataset")
    assert report["url"] == f"{hub.url}/datasets/me/rows"
    weights = MMPRMModel.from_pretrained(PRM_PATH).parameters()
    norm = torch.cat([weight.flatten() for weight in weights]).double().norm().item()
    program = f"""
import datasets, mmprm_hf, torch
from transformers import AutoModel, AutoProcessor
model = AutoModel.from_pretrained("me/nano-prm")
assert type(model).__name__ == "MMPRMModel"
assert torch.cat([weight.flatten() for weight in model.parameters()]).double().norm().item() == {norm!r}
assert AutoProcessor.from_pretrained("me/nano-prm").marker_token_id == model.config.marker_token_id
rows = datasets.load_dataset("me/rows", split="train")
assert rows["question"][:] == ["What?", "Which?"], rows
assert rows[1]["images"][0].size == (9, 7) and rows[1]["images"][0].getpixel((0, 0)) == (1, 2, 3)
"""
    subprocess.run([sys.executable, "-c", program], check=True, env=hub_environment, cwd=tmp_path)


def test_dry_run_asks_nothing(hub, tmp_path):
    folder = write_model(tmp_path / "model")
    (folder / "checkpoint-20").mkdir()
    for name in ("checkpoint-20/optimizer.pt", "checkpoint-20/model.bin", "training_args.bin", ".DS_Store"):
        (folder / name).write_bytes(pickle.dumps("state"))
    report = push(folder, "me/tiny", kind="model", dry_run=True, revision="v2", private=True)
    assert hub.requests == [] and "commit" not in report
    assert report["left_out"] == {".DS_Store": 1, "checkpoint-20": 2, "training_args.bin": 1}
    assert [row["path"] for row in report["files"]] == ["README.md", "config.json", "model-0.safetensors"]
    text = format_push(report)
    assert "  left out: checkpoint-20 (2 files)\n" in text and "25 B  config.json" in text
    assert text.endswith("dry run, nothing was sent: 3 files, 149 B would go to the model me/tiny, branch v2, private")


def test_private_and_branch_reach_the_hub(hub, tmp_path):
    folder = write_model(tmp_path / "model")
    (folder / "checkpoint-20").mkdir()
    (folder / "checkpoint-20/config.json").write_text("{}")
    report = push(folder, "me/tiny", kind="model", revision="v2/soft", private=True)
    repository = hub.repositories["model", "me/tiny"]
    assert repository["private"] and set(repository["branches"]) == {"main", "v2/soft"}
    assert set(hub.files("model", "me/tiny")) == {".gitattributes"}
    arrived = {".gitattributes", "README.md", "config.json", "model-0.safetensors"}
    assert set(hub.files("model", "me/tiny", "v2/soft")) == arrived
    assert report["url"] == f"{hub.url}/me/tiny/tree/v2/soft"
    assert f"{report['url']}  (commit {report['commit'][:12]})" in format_push(report)
    push(folder, "me/tiny", kind="model", revision="v2/soft", private=True)  # both exist now

    push(folder, "me/open", kind="model")
    with pytest.raises(ValueError, match="me/open is public, but a private repository is asked for; nothing was upl"):
        push(write_model(folder, 2), "me/open", kind="model", private=True)
    assert "model-1.safetensors" not in hub.files("model", "me/open")


def test_old_shards_are_named_and_can_be_replaced(hub, tmp_path):
    push(write_model(tmp_path / "old", 3), "me/tiny", kind="model")
    new = write_model(tmp_path / "new")
    report = push(new, "me/tiny", kind="model")
    assert report["others"] == ["model-1.safetensors", "model-2.safetensors"]
    assert "also there, from before: model-1.safetensors, model-2.safetensors (replace" in format_push(report)
    assert push(new, "me/tiny", kind="model", replace=True)["others"] == []
    assert set(hub.files("model", "me/tiny")) == {".gitattributes", *(path.name for path in new.iterdir())}


@pytest.mark.processes
def test_killed_upload_leaves_no_half_and_goes_on(hub, hub_environment, tmp_path):
    folder = write_model(tmp_path / "model", 4)
    hub.hold_after = 2
    program = f"from mmprm_hf.publish.hub import push; push({str(folder)!r}, 'me/tiny', kind='model')"
    child = subprocess.Popen(
        [sys.executable, "-c", program], env=hub_environment, cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    assert hub.held.wait(30)
    child.kill()
    child.wait()
    hub.release.set()
    assert set(hub.files("model", "me/tiny")) == {".gitattributes"} and len(hub.uploaded) == 2
    hub.hold_after = None
    push(folder, "me/tiny", kind="model")
    assert len(hub.uploaded) == len(set(hub.uploaded)) == 4, f"what had arrived was sent again: {hub.uploaded}"
    for path in folder.iterdir():
        assert hub.files("model", "me/tiny")[path.name] == path.read_bytes()


def test_refusal_by_the_hub_is_explained(hub, tmp_path, monkeypatch):
    folder = write_model(tmp_path / "model")
    hub.refuse = 403
    with pytest.raises(PushStoppedError, match=r"does not let this token write to me/tiny \(403\). Log in with `hf au"):
        push(folder, "me/tiny", kind="model")
    hub.refuse = 400
    with pytest.raises(PushStoppedError, match=r"The upload to me/tiny stopped \(.*push again, and what has arrived"):
        push(folder, "me/tiny", kind="model")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PushStoppedError, match="HF_HUB_OFFLINE is set"):
        push(folder, "me/tiny", kind="model")


def findings_of(folder: Path, kind: str = "model", **options) -> list[str]:
    with pytest.raises(PushRefusedError, match="nothing was uploaded") as refused:
        push(folder, "me/tiny", kind=kind, dry_run=True, **options)
    assert all(str(finding) in str(refused.value) for finding in refused.value.findings)
    return [str(finding) for finding in refused.value.findings]


def test_every_finding_is_listed_at_once(hub, tmp_path):
    folder = write_model(tmp_path / "model")
    (folder / "README.md").write_text("# no front matter\n")
    (folder / "config.json").write_text('{\n"a": 1,\n"_name_or_path": "/home/ann/policy"\n}\n')
    (folder / "notes.json").write_text(json.dumps({"token": SECRETS["a Hugging Face token"]}))
    (folder / "weights.pt").write_bytes(b"")
    (folder / "old.bak").write_text("x")
    with pytest.raises(PushRefusedError, match="5 findings in model; nothing was uploaded.") as refused:
        push(folder, "me/tiny", kind="model")
    assert hub.requests == []
    readme, config, notes, old, weights = refused.value.findings
    assert str(readme).startswith("README.md: card: it does not begin with YAML between two lines of three dashes.")
    assert str(readme).endswith("Write it from facts: mmprm card facts.json -o README.md.")
    assert str(config).startswith("config.json, line 3: machine path: '/home/ann/policy'. It means nothing elsewhere")
    assert str(notes).startswith("notes.json, line 1: secret: a Hugging Face token (hf_a…). Take it out")
    assert SECRETS["a Hugging Face token"] not in str(refused.value)
    assert str(old).startswith("old.bak: unknown file: 1 bytes of an unexpected kind. A model holds")
    assert str(weights).startswith("weights.pt: pickle: a .pt file, which is usually a pickle. Loading a pickle runs")
    assert "allow 'config.json'; a secret in it only by 'config.json:secret'" in str(refused.value)


def test_secrets(tmp_path):
    folder = write_model(tmp_path / "model")
    for words, secret in SECRETS.items():
        (folder / "notes.md").write_text(f"one\ntwo {secret}\n")
        (finding,) = findings_of(folder)
        assert finding.startswith(f"notes.md, line 2: secret: {words} (")


def test_secrets_in_what_is_not_plain_text(tmp_path):
    folder = write_model(tmp_path / "model")
    token = SECRETS["a Hugging Face token"]
    for content in (token.encode("utf-16"), b"\0" + token.encode(), b"\x89PNG\r\n\0" + token.encode()):
        (folder / "notes.md").write_bytes(content)
        (finding,) = findings_of(folder)
        assert finding.startswith("notes.md: secret: a Hugging Face token (hf_a")


def test_files_that_hold_credentials(tmp_path):
    folder = write_model(tmp_path / "model")
    for name in (".env", ".netrc", "id_rsa", "server.pem", "deploy.key", ".git-credentials"):
        (folder / name).write_text("x")
        (finding,) = findings_of(folder)
        assert finding.startswith(f"{name}: secret: a file of this name holds credentials. Move it out of the folder")
        assert findings_of(folder, allow=(name,)) == [finding], "allowed as a file, but not as a secret"
        push(folder, "me/tiny", kind="model", dry_run=True, allow=(f"{name}:secret",))
        (folder / name).unlink()


MACHINE_PATHS = [
    "/home/ann/data",
    "/Users/Ann/x.json",
    "/root/x",
    "/tmp/y",
    "/tmp",
    "file:///home/ann/x",
    "/mnt/disk/x",
]
MACHINE_PATHS += ["C:\\Users\\ann\\x", "C:\\\\Users\\\\ann", "C:/Users/ann"]


def test_machine_paths(tmp_path):
    folder = write_model(tmp_path / "model")
    (folder / "deep").mkdir()
    for path in MACHINE_PATHS:
        (folder / "a.json").write_text(f'x = "{path}"\n')
        (finding,) = findings_of(folder)
        assert finding.startswith("a.json, line 1: machine path: "), path
    names = ("a.json", "a.yaml", "a.py", "a.txt", "a.md", "deep/a.svg")
    for name in names:
        (folder / name).write_text('x = "/home/ann/data"\n')
    assert [finding.split(",")[0] for finding in findings_of(folder)] == sorted(names)


def test_own_folders_are_known_whatever_their_names(tmp_path, monkeypatch):
    work = tmp_path / "odd place"
    folder = write_model(work / "model")
    monkeypatch.chdir(work)
    monkeypatch.setattr(Path, "home", lambda: Path("/srv/people/ann"))
    (folder / "a.json").write_text('{"from": "/srv/people/ann"}\n')
    (folder / "b.json").write_text('{"from": "/srv/people/anna", "to": "../srv/people/ann", "at": "~/tmp/x"}\n')
    (finding,) = findings_of(folder)
    assert finding.startswith("a.json, line 1: machine path: '/srv/people/ann'.")
    (folder / "a.json").write_text(json.dumps({"from": str(work / "x")}))
    assert len(findings_of(folder)) == 1
    monkeypatch.setattr(file_checks, "root_folders", lambda: ["gpfs"])
    (folder / "a.json").write_text('{"from": "/gpfs/project/x", "to": "/gpfsx/y", "at": "x/gpfs/y"}')
    (finding,) = findings_of(folder)
    assert finding.startswith("a.json, line 1: machine path: '/gpfs/project/x'.")
    monkeypatch.undo()
    assert not {"usr", "etc", "home"} & set(file_checks.root_folders())


def test_what_only_looks_like_a_finding_passes(tmp_path):
    folder = write_model(tmp_path / "model")
    (folder / "a.md").write_text(
        "https://example.org/home/x, ${ROOT}/tmp/x, ~/tmp/x, docs/root/x, a/tmp and /homework/1; \\root{2}; 3/root x\n"
        "hf_internal_testing, sk-learn-is-a-library-with-long-name, class sk-toggleable__content, task-AB3dE5gH7jK9m\n"
        '"Authorization": "Bearer $HF_TOKEN", "Authorization: Bearer <token>", https://user@example.org, AKIAshort\n'
    )
    (folder / "tokenizer.json").write_text('{"/home/user": 3, "/tmp/": 4, "/root": 5}\n')
    assert push(folder, "me/tiny", kind="model", dry_run=True)["num_files"] == 5


def test_pickles(tmp_path):
    folder = write_model(tmp_path / "model")
    for name, content, words in (
        ("weights.pkl", b"", "a .pkl file"),
        ("weights.pth", b"", "a .pth file"),
        ("weights.joblib", b"", "a .joblib file"),
        ("config2.json", pickle.dumps({"a": 1}), "a pickle of protocol 4"),
        ("vocab.txt", pickle.dumps([1], protocol=2), "a pickle of protocol 2"),
    ):
        (folder / name).write_bytes(content)
        (finding,) = findings_of(folder)
        assert finding.startswith(f"{name}: pickle: {words}")
        (folder / name).unlink()


def test_pickles_inside_archives_whatever_their_names(tmp_path):
    folder = write_model(tmp_path / "model")
    torch.save({"a": torch.ones(2)}, folder / "pytorch_model.bin")
    np.savez(folder / "rows.png", a=np.array([{}], dtype=object))
    (folder / "rows.png.npz").rename(folder / "rows.png")
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    (folder / "array.json").write_bytes(buffer.getvalue())
    array, model, rows = findings_of(folder)
    assert "array.json: pickle: a NumPy file of Python objects" in array
    assert "pytorch_model.bin: pickle: an archive that holds the pickle pytorch_model/data.pkl, as torch.save" in model
    assert "rows.png: pickle: a NumPy archive whose a.npy holds Python objects" in rows


def test_links(tmp_path):
    folder = write_model(tmp_path / "model")
    (tmp_path / "outside.json").write_text("{}")
    (folder / "out.json").symlink_to(tmp_path / "outside.json")
    (folder / "lost.json").symlink_to("nowhere.json")
    (folder / "kept").mkdir()
    (folder / "again").symlink_to("kept")
    (folder / "copy.json").symlink_to("config.json")
    again, lost, out = findings_of(folder, allow=("copy.json",))
    assert again.startswith("again: link: a symbolic link to a folder, which would be skipped. Put a copy")
    assert lost.startswith("lost.json: link: a symbolic link to nothing.")
    assert out.startswith("out.json: link: a symbolic link that leaves the folder. Put a copy of the file in its place")
    report = push(folder, "me/tiny", kind="model", dry_run=True, leave_out=("out.json", "lost.*", "again"))
    assert {"path": "copy.json", "num_bytes": 25} in report["files"]


def test_unknown_files_by_kind(tmp_path):
    folder = write_dataset(tmp_path / "rows")
    (folder / "model.py").write_text("print(1)\n")
    (folder / ".gitignore").write_text("*.parquet\n")
    ignore, code = findings_of(folder, "dataset")
    assert ignore.startswith(".gitignore: unknown file") and code.startswith("model.py: unknown file: 9 bytes of an")
    report = push(folder, "me/rows", kind="dataset", dry_run=True, allow=("model.py",), leave_out=(".gitignore",))
    assert report["num_files"] == 3 and report["left_out"] == {".gitignore": 1}
    with pytest.raises(
        ValueError, match="Unknown file 'modle.py' in allow; it is not in rows. Did you mean 'model.py'"
    ):
        push(folder, "me/rows", kind="dataset", dry_run=True, allow=("modle.py",))
    with pytest.raises(ValueError, match=r"No file or folder in rows matches '\*.html', which is to be left out"):
        push(folder, "me/rows", kind="dataset", dry_run=True, leave_out=("*.html",))


def test_binary_files_are_read_at_their_heads(tmp_path):
    folder = write_dataset(tmp_path / "rows")
    image = {"bytes": None, "path": "/srv/figures/1.png"}
    table = datasets.Dataset.from_dict({"image": [image]}).data.table
    import pyarrow.parquet as pq

    pq.write_table(table, folder / "a.parquet")
    pq.write_table(table.select([]).replace_schema_metadata({"made by": "/home/ann/run.py"}), folder / "b.parquet")
    (folder / "c.parquet").write_bytes((folder / "train.parquet").read_bytes()[:-100])
    first, second, third = findings_of(folder, "dataset")
    assert first.startswith("a.parquet: machine path: '/srv/figures/1.png' in the column image.path. Embed the figures")
    assert second.startswith("b.parquet: machine path: '/home/ann/run.py' in the footer.")
    assert third.startswith("c.parquet: damaged file: it cannot be read as Parquet (")

    model = write_model(tmp_path / "model")
    save_file({"w": torch.ones(2)}, model / "a.safetensors", metadata={"base": "/home/ann/base"})
    (model / "b.safetensors").write_bytes((model / "model-0.safetensors").read_bytes()[:-4])
    (model / "c.safetensors").write_bytes(pickle.dumps({}))
    first, second, third = findings_of(model)
    assert first.startswith("a.safetensors: machine path: '/home/ann/base' in the header.")
    assert second.startswith("b.safetensors: damaged file: it has 84 bytes, but its header says 88: it was not written")
    assert third.startswith("c.safetensors: damaged file: it has no safetensors header. Write the file again.")


def test_long_files_are_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(file_checks, "BLOCK", 1000)
    folder = write_model(tmp_path / "model")
    token = SECRETS["a Hugging Face token"]
    for length in range(900, 1100, 7):  # one cut or another falls into the token
        (folder / "notes.md").write_text("a\n" * 300 + "b" * (length - 600) + f" {token}\n" + "c\n" * 900)
        (finding,) = findings_of(folder)
        assert finding.startswith("notes.md, line 301: secret: a Hugging Face token (hf_a…)"), length
    (folder / "notes.md").write_text(f"x\n{token}\n" * 2000)
    (finding,) = findings_of(folder)
    assert finding.startswith("notes.md, line 2, 4, 6 and 1,997 more: secret: a Hugging Face token")


def test_cards(tmp_path):
    folder = write_model(tmp_path / "model")
    for text, words in (
        ("---\nlicense: [\n---\n", "its front matter is not YAML (while parsing"),
        ("---\n---\n# Title\n", "its front matter holds no keys"),
        ("---\nlicense: mit\n", "it does not begin with YAML"),
    ):
        (folder / "README.md").write_text(text)
        assert findings_of(folder)[0].startswith(f"README.md: card: {words}")
    (folder / "README.md").unlink()
    assert findings_of(folder)[0].startswith("README.md: card: there is none. Write it from facts: mmprm card")
    space = tmp_path / "space"
    space.mkdir()
    (space / "README.md").write_text("---\ntitle: x\n---\n")
    assert findings_of(space, "space")[0].startswith("README.md: card: its front matter lacks sdk and app_file. Write")
    (space / "README.md").write_text("---\nsdk: gradio\napp_file: app.py\n---\n")
    assert findings_of(space, "space")[0].startswith("README.md: card: its app_file 'app.py' is not there.")


def test_wrong_arguments(tmp_path):
    folder = write_model(tmp_path / "model")
    with pytest.raises(
        ValueError, match="Unknown kind 'modle'. Did you mean 'model'. Choose one of dataset, model, space"
    ):
        push(folder, "me/tiny", kind="modle", dry_run=True)
    for name in ("tiny", "a/b/c", "me/", "me/ti ny"):
        with pytest.raises(ValueError, match="It is written owner/name, such as me/my-prm"):
            push(folder, name, kind="model", dry_run=True)
    with pytest.raises(ValueError, match="is not a folder"):
        push(tmp_path / "nothing", "me/tiny", kind="model", dry_run=True)


def test_folder_that_changes_is_not_sent(hub, tmp_path, monkeypatch):
    folder = write_model(tmp_path / "model")

    def check_while_writing(path, name):
        (folder / "late.json").write_text("{}")
        return iter(())

    monkeypatch.setattr("mmprm_hf.publish.folder_checks.check_file", check_while_writing)
    with pytest.raises(ValueError, match="model changed while it was checked. Wait until nothing writes into it"):
        push(folder, "me/tiny", kind="model")
    assert hub.requests == []
