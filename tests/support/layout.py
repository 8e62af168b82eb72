"""Where the repository and the shared ground truth lie."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"  # absent outside the project's own machines; tests that need it skip and say so
