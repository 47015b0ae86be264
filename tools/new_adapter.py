"""`make adapter NAME=x`: a cloud adapter and its stand-in that pass the contract from the start.

What is made speaks an API that nobody has: change stand-in and adapter, side by side, to what the
cloud's documents say, and keep the contract green. See docs/adding-a-cloud.md.
"""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from pathlib import Path
from string import Template

from tools.part import ROOT

TEMPLATES = Path(__file__).with_name("adapter")
NAME = re.compile(r"[a-z][a-z0-9]{1,29}\Z")
FILES = {
    "adapter_init.py": "brain/adapters/clouds/{package}/__init__.py",
    "adapter_cloud.py": "brain/adapters/clouds/{package}/cloud.py",
    "standin_init.py": "standins/clouds/{package}/__init__.py",
    "standin_app.py": "standins/clouds/{package}/app.py",
}


class CannotMake(Exception):
    """The words say why, and what would help."""


def make(name: str, root: Path = ROOT) -> list[str]:
    """Write the files and the lines that register them; the paths, or ``CannotMake``."""
    if not NAME.match(name):
        raise CannotMake("A cloud's name is 2 to 30 small letters and digits: make adapter NAME=x")
    words = _words(name)
    paths = {source: place.format(**words) for source, place in FILES.items()}
    taken = [path for path in paths.values() if (root / path).exists()]
    if taken:
        raise CannotMake(f"{taken[0]} is there already.")
    edits = [_edited(root, path, lines) for path, lines in _lines(words).items()]
    for source, path in paths.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        template = Template((TEMPLATES / f"{source}.tmpl").read_text())
        (root / path).write_text(template.substitute(words))
    for path, content in edits:
        (root / path).write_text(content)
    return [*paths.values(), *(path for path, _ in edits)]


def _words(name: str) -> dict[str, str]:
    return {
        "name": name,
        "NAME": name.upper(),
        "Class": name.capitalize(),
        "title": name.capitalize(),
        "package": f"{name}_" if keyword.iskeyword(name) else name,
    }


def _lines(words: dict[str, str]) -> dict[str, list[tuple[str, str]]]:
    """What is added to which file: (the line after which it goes, the text)."""
    name, package, upper = words["name"], words["package"], words["NAME"]
    adapter, title = f"{words['Class']}Cloud", words["title"]
    return {
        "pyproject.toml": [
            (
                '[project.entry-points."ganglion.clouds"]',
                f'{name} = "brain.adapters.clouds.{package}:open_cloud"',
            )
        ],
        "brain/adapters/clouds/settings.py": [
            (
                '    lambda_api_key: Key = Field(default=None, description="Account at Lambda.")',
                f'    {name}_api_key: Key = Field(default=None, description="Account at {title}.")'
                f"\n    {name}_url: Root = Field(\n"
                f'        default="https://api.{name}.example",'
                f' description="Root of {title}\'s API."\n    )',
            )
        ],
        ".env.example": [
            (
                "# LAMBDA_CLOUD_BASE_URL=https://cloud.lambda.ai",
                f"# Account at {title}.\n# {upper}_API_KEY=\n"
                f"# Root of {title}'s API.\n# {upper}_URL=https://api.{name}.example",
            )
        ],
        "standins/clouds/serve.py": [("CLOUDS = {", f'    "{name}": "standins.clouds.{package}",')],
        "tests/contract/cloud/rigs.py": [
            (
                "from brain.adapters.clouds.vast import VastCloud",
                f"from brain.adapters.clouds.{package} import {adapter}",
            ),
            (
                "from standins.clouds.world import World",
                f"from standins.clouds import {package} as {package}_stand_in",
            ),
            (
                "RIGS: Mapping[str, Kit] = {",
                f'    "{name}": emulated({adapter}, {package}_stand_in),',
            ),
        ],
    }


def _edited(root: Path, path: str, lines: list[tuple[str, str]]) -> tuple[str, str]:
    content = (root / path).read_text()
    for after, added in lines:
        if content.count(f"{after}\n") != 1:
            raise CannotMake(f"{path} has no single line {after!r}: add the cloud there by hand.")
        content = content.replace(f"{after}\n", f"{after}\n{added}\n")
    return path, content


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.new_adapter", description=__doc__)
    parser.add_argument("name", help="what the cloud is called, such as 'acme'")
    try:
        made = make(parser.parse_args(arguments).name)
    except CannotMake as reason:
        sys.stderr.write(f"{reason}\n")
        return 1
    print("\n".join(made))
    print("Then: make format, and make test ARGS='tests/contract/cloud'; docs/adding-a-cloud.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
