"""The README's architecture table, held against the imports."""

import ast
import re
from pathlib import Path

import midijax

PACKAGE = Path(midijax.__file__).parent
README = PACKAGE.parent / "README.md"


def floors():
    """The floor of each file, from the rows `| 3 | `model` | ... |`."""
    rows = re.findall(r"^\| (\d) \| ([^|]+) \|", README.read_text(), re.MULTILINE)
    return {name: int(floor) for floor, names in rows for name in re.findall(r"`(\w+)`", names)}


def imports(path):
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "midijax":
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("midijax."):
            modules.add(node.module.split(".")[1])
    return modules


def test_every_file_stands_on_a_floor():
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert floors().keys() == files


def test_files_import_only_from_lower_floors():
    floor = floors()
    upward = [
        (path.stem, module)
        for path in PACKAGE.glob("*.py")
        for module in imports(path) & floor.keys()
        if floor[module] >= floor.get(path.stem, 0)
    ]
    assert upward == []
