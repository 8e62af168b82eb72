"""Code blocks of Markdown documents, and a program that runs those of one document in order."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]*?) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S
)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block; `reason` says why it is not run, None where it is."""

    language: str
    code: str
    reason: str | None


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a document."""
    return [
        Block(match["language"], match["code"], match["reason"])
        for match in BLOCK.finditer(path.read_text(encoding="utf-8"))
    ]


def commands(code: str) -> list[list[str]]:
    """The `mmprm` commands of a shell block, as words, without comments and what follows a pipe or semicolon."""
    found = []
    for line in re.split(r"\n|;|\||&&", code.replace("\\\n", " ")):
        words = shlex.split(line, comments=True)
        if words[:1] == ["mmprm"]:
            found.append(words[1:])
    return found


def main(document: str) -> None:
    """Run all blocks of a document that can be run, Python ones in one namespace."""
    namespace: dict = {"__name__": "__document__"}
    for block in blocks(Path(document)):
        if block.reason is not None or block.code.lstrip().startswith(("make ", "pip ")):
            continue
        print(f"--- {block.language}\n{block.code}", flush=True)
        if block.language == "python":
            exec(compile(block.code, document, "exec"), namespace)
        elif block.language == "sh":
            subprocess.run(["bash", "-euo", "pipefail", "-c", block.code], check=True)


if __name__ == "__main__":
    main(sys.argv[1])
