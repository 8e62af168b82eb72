"""README, docs, recipes and cards: commands exist and run, tables and numbers are those of committed results."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from support.documents import blocks, commands
from support.layout import ROOT

from mmprm_hf.cli import app

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = [*PAGES, *sorted(ROOT.glob("recipes/*/README.md")), *sorted(ROOT.glob("*_cards/*/README.md"))]
names = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 12_288


def test_every_table_is_that_of_the_results():
    tables = script("tables")
    for path in tables.documents():
        text = path.read_text(encoding="utf-8")
        assert tables.render(text) == text, f"{path.name}: run python docs/tables.py"


def test_every_number_is_that_of_the_results():
    ledger = script("ledger")
    assert set(ledger.LEDGER["documents"]) >= {str(path.relative_to(ROOT)) for path in PAGES}
    assert not [fault for document in ledger.LEDGER["documents"] for fault in ledger.faults(document)]


def test_a_changed_number_is_noticed():
    ledger, text = script("ledger"), (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
    for number, changed in (("13,448 steps", "13,449 steps"), ("AUROC 0.906", "AUROC 0.916"), ("117 of", "61 of")):
        assert list(ledger.faults("docs/evaluation.md", text.replace(number, changed))), number
    assert list(ledger.faults("docs/evaluation.md", text + "It is 3.7 times as fast."))


def test_every_command_has_its_flags():
    """Verbs and flags of all documents, also of blocks that are not run."""
    program = typer.main.get_command(app)
    for path in DOCUMENTS:
        for block in blocks(path):
            for words in commands(block.code) if block.language in ("sh", "bash") else ():
                words = [word for word in words if word not in ("-q", "--quiet", "--debug")]  # the program's
                command, context = program, typer.Context(program)
                while hasattr(command, "commands") and words and not words[0].startswith("-"):
                    assert words[0] in command.commands, f"{path.name}: mmprm has no {words[0]!r}"
                    command, words = command.commands[words[0]], words[1:]
                    context = typer.Context(command)
                command.make_parser(context).parse_args(list(words))  # raises for an unknown flag


def test_links_lead_somewhere():
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            if not target.startswith(("http://", "https://", "mailto:")):
                assert (path.parent / target).exists(), f"{path.relative_to(ROOT)} links to {target}"


@pytest.mark.documents
@names
def test_every_block_runs_in_an_empty_folder(path, tmp_path):
    """Where the package is installed: nothing of a clone is there, and nothing that an earlier page wrote."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    program = [sys.executable, str(ROOT / "tests/support/documents.py"), str(path)]
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
