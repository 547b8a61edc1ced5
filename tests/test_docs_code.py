"""Every python block of README.md and docs/ runs as printed, and every yaml block that says so.

A page is one story: its blocks run from top to bottom, in one namespace and one empty folder. An HTML
comment on the line before a block changes what happens to it:

``<!-- skip: reason -->``
    the block is not run; the reason is required.
``<!-- run: galsim NAME [more arguments] -->``
    a yaml block is written to NAME, and the galsim program is run on it.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"(?:^<!--[ ]*(?P<order>\w+):(?P<text>[^\n]*?)-->[ ]*\n\s*)?"
    r"^```(?P<language>python|yaml)[ ]*\n(?P<code>.*?)^```[ ]*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A block of code that is to run: its language, first line, the galsim arguments of a yaml block."""

    language: str
    line: int
    code: str
    arguments: tuple[str, ...] = ()


def blocks_to_run(text: str, page: str) -> list[Block]:
    """The blocks of a page in order, without those skipped and without yaml that is only shown."""
    found = []
    for match in BLOCK.finditer(text):
        order, argument = match["order"], (match["text"] or "").strip()
        language, line = match["language"], text.count("\n", 0, match.start("code")) + 1
        if order == "skip":
            assert argument, f"{page}:{line}: skipped without a reason"
            continue
        if language == "python":
            assert order is None, f"{page}:{line}: a python block can't have <!-- {order}: -->"
            found.append(Block(language, line, match["code"]))
        elif order is not None:
            program, *arguments = shlex.split(argument)
            assert (order, program) == ("run", "galsim"), f"{page}:{line}: can't {order} {program}"
            assert arguments, f"{page}:{line}: no file name for the yaml block"
            found.append(Block(language, line, match["code"], tuple(arguments)))
    return found


def run_galsim(block: Block, page: str) -> None:
    """Write the yaml block and run the stock program on it; -x, or a failed file would exit with 0."""
    Path(block.arguments[0]).write_text(block.code)
    command = [str(Path(sys.executable).with_name("galsim")), "-x", *block.arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, f"{page}:{block.line}: {shlex.join(command)}\n{done.stdout}{done.stderr}"


PAGES = {
    str(path.relative_to(ROOT)): found
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
    if "_build" not in path.parts
    and (found := blocks_to_run(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))))
}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_page_runs_as_printed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in PAGES[page]:
        if block.language == "yaml":
            run_galsim(block, page)
        else:  # the empty lines make a traceback name the page's own line
            exec(compile("\n" * (block.line - 1) + block.code, str(ROOT / page), "exec"), namespace)


def test_blocks_are_found() -> None:
    text = (
        "```python\na = 1\n```\n\n<!-- skip: needs a GPU -->\n```python\nb\n```\n"
        "```yaml\nshown: 1\n```\n<!-- run: galsim a.yaml -v 1 -->\n```yaml\nrun: 1\n```\n"
    )
    assert blocks_to_run(text, "page") == [
        Block("python", 2, "a = 1\n"),
        Block("yaml", 14, "run: 1\n", ("a.yaml", "-v", "1")),
    ]


def test_a_skip_needs_a_reason() -> None:
    with pytest.raises(AssertionError, match="page:3: skipped without a reason"):
        blocks_to_run("<!-- skip: -->\n```python\n1 / 0\n```\n", "page")


def test_a_failing_yaml_block_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match="page:1: .*galsim"):
        run_galsim(Block("yaml", 1, "gal: {type: NoSuchGalaxy}\n", ("broken.yaml",)), "page")
