"""The house: rooms on levels, imports that point down, public names, sizes; read from the source with `ast`."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

from support.layout import ROOT

PACKAGE = ROOT / "mmprm_hf"
GROUND = {"data", "errors", "files"}  # nouns, failures and files of the whole house: every room may import them
LEVELS = {
    0: "data errors files progress selection metrics steps answers rows",  # no torch
    1: "models engines nano",
    2: "families scoring serving",
    3: "labelling training rerank rewards curation restructuring evaluation publish",
    4: "stages app",
    5: "cli",
}
LEVEL_OF = {room: level for level, rooms in LEVELS.items() for room in rooms.split()}
FRONT_DOOR = {"__init__", "__main__", "_lazy", "_registration"}  # they import no room when they are imported
EXCUSED = {
    ("rows", "models"): "the one reader of figures is copied into checkpoints, so it lies there; it needs Pillow only",
    ("steps", "answers"): "plain formats find the final answer where `answers` finds it: one reader",
    ("engines", "models"): "figures, fingerprints and what stock models call their cache are read in one place",
}
LONG_FILES: dict[str, str] = {}  # path -> why it is over 400 lines
LONG_FUNCTIONS: dict[str, str] = {}  # path:function -> why it is over 60 lines
FILES = sorted(path for path in PACKAGE.rglob("*.py") if not path.is_symlink())
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path):
    """(parts of the module's name below the package, names, node) of every import of the package's own."""
    package = path.relative_to(PACKAGE).parent.parts
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            module = (*base, *(node.module or "").split(".")) if node.module else base
            names = [alias.name for alias in node.names]
            if module:
                yield module, names, node
            else:  # from .. import room
                for name in names:
                    yield (name,), [], node


def test_rooms_are_known_and_few_modules_lie_at_the_top():
    rooms = {room_of(path) for path in FILES} - FRONT_DOOR
    assert rooms <= set(LEVEL_OF), f"{rooms - set(LEVEL_OF)} have no level: add them to LEVELS and to AGENTS.md"
    assert len([path for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")]) <= 8


def test_imports_inside_the_package_are_relative():
    for path, tree in TREES.items():
        if "modules" in path.relative_to(PACKAGE).parts:  # `evaluate` runs a copy of these files outside the package
            continue
        for node in ast.walk(tree):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.split(".")[0] == "mmprm_hf" for name in modules), f"{path}:{node.lineno}"


def test_imports_point_down():
    for path in FILES:
        room = room_of(path)
        for module, _, node in imports_of(path):
            target = module[0]
            if room in FRONT_DOOR or target in FRONT_DOOR | GROUND | {room} or (room, target) in EXCUSED:
                continue
            where = f"{path.relative_to(ROOT)}:{node.lineno} imports {'.'.join(module)}"
            assert LEVEL_OF[target] < LEVEL_OF[room], f"{where}, which is not below it"


def test_no_excuse_is_left_over():
    pairs = {(room_of(path), module[0]) for path in FILES for module, _, _ in imports_of(path)}
    assert not set(EXCUSED) - pairs


def test_rooms_import_only_public_names_of_other_rooms():
    for path in FILES:
        for module, names, node in imports_of(path):
            if module[0] == room_of(path) or room_of(path) in FRONT_DOOR:
                continue
            where = f"{path.relative_to(ROOT)}:{node.lineno}"
            assert len(module) == 1, f"{where} imports {'.'.join(module)}; import the name from its room"
            public = getattr(importlib.import_module(f"mmprm_hf.{module[0]}"), "__all__", names)
            assert set(names) <= set(public), f"{where}: {set(names) - set(public)} are not public in {module[0]}"
            assert not any(name.startswith("_") for name in names), where


def test_every_public_name_of_a_room_exists():
    for room in LEVEL_OF:
        if (PACKAGE / room / "__init__.py").exists():
            module = importlib.import_module(f"mmprm_hf.{room}")
            assert module.__all__ and module.__doc__
            for name in module.__all__:
                assert getattr(module, name) is not None
                assert not (PACKAGE / room / f"{name}.py").exists(), f"{room}.{name} is a module as well"


def test_the_lowest_level_imports_no_torch():
    rooms = ", ".join(f"mmprm_hf.{room}" for room in LEVELS[0].split() if room_exists(room))
    program = (
        f"import sys, {rooms}\n"
        f"for module in ({rooms},):\n"
        "    [getattr(module, name) for name in getattr(module, '__all__', [])]\n"
        "print('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def room_exists(room: str) -> bool:
    return (PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").exists()


def test_the_island_imports_only_its_siblings():
    """Saving copies these files, and nothing else of the package, into a checkpoint."""
    for path in (PACKAGE / "models").glob("*_mm_prm.py"):
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.level == 1 and node.module.endswith("_mm_prm"), f"{path}: {ast.unparse(node)}"


def test_files_and_functions_are_short():
    for path, tree in TREES.items():
        name = str(path.relative_to(PACKAGE))
        if name not in LONG_FILES:
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, name
        for node in ast.walk(tree):
            if (
                isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
                and f"{name}:{node.name}" not in LONG_FUNCTIONS
            ):
                assert node.end_lineno - node.lineno < 60, f"{name}:{node.lineno} {node.name}"
