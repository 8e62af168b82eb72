"""Imports point down only (DESIGN: L0 standard library ... L5 CLI), read from the source with `ast`."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mmprm_hf"
LEVELS = {
    "data": 0, "steps": 0, "answers": 0, "answer_values": 0, "selection": 0, "files": 0,
    "answer_arithmetic": 0, "answer_cleaning": 0, "answer_extraction": 0, "answer_numerals": 0, "answer_regions": 0,
    "answer_units": 0, "formula_pool": 0, "formula_worker": 0, "score_store": 0, "intervals": 0,
    "packing": 1, "metrics": 1, "engines": 1, "models": 1, "fingerprints": 1, "problem_keys": 1, "judge_verifier": 1,
    "problem_rows": 1, "raw_rows": 1, "backbones": 1, "prefix_cache": 1, "tree_attention": 1, "row_plan": 1,
    "sharing": 1, "parquet_splits": 1,
    "scoring": 2,
    "labelling": 3, "training": 3, "rerank": 3, "nano": 3, "restructuring": 3, "curation": 3,
    "evaluation": 4, "publish": 4,
    "demo": 5, "problem_source": 5, "stages": 5, "app": 5, "cli": 5,
}  # fmt: skip
OUTSIDE = {"__init__", "_registration"}  # the front door: may name any room, imports none when it is imported
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path, top_level_only: bool = False):
    """(absolute module name, line) of every import in a file, relative ones resolved."""
    package = ("mmprm_hf", *path.relative_to(PACKAGE).parent.parts)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    is_checking = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in tree.body if top_level_only else ast.walk(tree):
        if id(node) in is_checking:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            if module == "mmprm_hf":
                for alias in node.names:
                    yield f"mmprm_hf.{alias.name}", node.lineno
            else:
                yield module, node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    room = room_of(path)
    if room in OUTSIDE:
        return
    assert room in LEVELS, f"{room} has no level yet: add it to LEVELS and to the README's map"
    for module, line in imports_of(path):
        if not module.startswith("mmprm_hf."):
            continue
        target = module.split(".")[1]
        where = f"{path.name}:{line} imports {module}"
        if target == room:
            continue
        assert LEVELS[target] <= LEVELS[room], where
        assert LEVELS[room] in (0, 1, 5) or LEVELS[target] < LEVELS[room], f"{where}: rooms never import each other"


@pytest.mark.parametrize("name", [name for name, level in LEVELS.items() if level == 0])
def test_level_zero_is_standard_library_only(name):
    for module, line in imports_of(PACKAGE / f"{name}.py", top_level_only=True):
        top = module.split(".")[0]
        assert top in sys.stdlib_module_names or top == "mmprm_hf", f"{name}.py:{line} imports {module}"


def test_engines_import_nothing_heavy_at_the_top():
    program = "import sys, mmprm_hf.engines; print(*{'torch', 'transformers', 'PIL', 'numpy'} & set(sys.modules))"
    assert not subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").glob("*_mm_prm.py")), ids=lambda path: path.name)
def test_the_island_imports_only_its_siblings(path):
    """Custom-code saving copies the module and its siblings, nothing else of the package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level in (0, 1), ast.unparse(node)
            if node.level == 0:
                assert not (node.module or "").startswith("mmprm_hf"), ast.unparse(node)
