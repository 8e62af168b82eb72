"""Where the repository and the shared ground truth lie, and how tests import the scripts of recipes."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"  # absent outside the project's own machines; tests that need it skip and say so


def import_recipe(folder: str, name: str) -> ModuleType:
    """Import a script of a recipe as its neighbours do: its folder is on the path."""
    path = str(ROOT / "recipes" / folder)
    sys.path.insert(0, path)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(path)
