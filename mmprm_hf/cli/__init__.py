"""`mmprm <verb>`: flags and YAML become one function call, whose result is printed. No logic.

Exit codes: 0 done; 1 the run failed or stopped; 2 wrong flags or configuration; 130 interrupted. With `--json` standard
output holds one JSON document and nothing else. Importing this room imports no torch; heavy rooms wait in the verbs.
"""

from .program import app, main

__all__ = ["app", "main"]
