"""`mmprm VERB`: flags and YAML become the call of one function, whose result is printed. No logic.

Exit codes: 0 done, 1 failed or stopped, 2 wrong flags or configuration, 130 interrupted, 143 terminated. With `--json`
standard output is one JSON document; that of an error is {"error": message, "exit_code": code}. Importing this room
imports no torch; the verbs import heavy rooms when they run.
"""

from .program import app, main

__all__ = ["app", "main"]
