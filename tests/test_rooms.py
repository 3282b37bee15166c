"""The order of the rooms: imports point one way, which the table in CONTRIBUTING.md defines."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
REGISTRIES = {"fcnjax/models", "fcnjax/commands", "fcnjax/bench"}  # one file an entry: they may grow
LARGEST = 14  # modules of any other folder
KNOWS_NOTHING_OF = {  # what the third column of the table says, for rooms that stand above in the order
    "fcnjax/data/": ("fcnjax/layers/", "fcnjax/pooling/", "fcnjax/heads/", "fcnjax/models/"),
    "fcnjax/data/planning/": ("fcnjax/data/sources/", "fcnjax/data/files/", "fcnjax/data/tfds/", "fcnjax/padded.py"),
    "fcnjax/data/augmentation/": ("fcnjax/data/planning/", "fcnjax/data/sources/"),
    "fcnjax/training/settings/": ("fcnjax/padded.py", "fcnjax/data/planning/", "fcnjax/data/loader.py"),
    "fcnjax/training/step/": ("fcnjax/atomic.py", "fcnjax/data/files/", "fcnjax/data/loader.py"),
}


def module_files(*folders: str) -> list[str]:
    """Returns the Python files below folders of the project, relative to its root."""
    return sorted(str(file.relative_to(ROOT)) for folder in folders for file in (ROOT / folder).rglob("*.py"))


FILES = module_files("fcnjax", "experiments", "configs")


def rooms() -> list[list[str]]:
    """Returns the files, and the folders with a final slash, of each row of the table of CONTRIBUTING.md, in order."""
    rows = re.findall(r"^\| (`[^|]+`) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    table, folder = [], ""
    for row in rows:
        names = []
        for name in re.findall(r"`([^`]+)`", row):
            folder = name.rpartition("/")[0] if "/" in name.rstrip("/") and not name.endswith("/") else folder
            names.append(name if "/" in name else f"{folder}/{name}")
        table.append(names)
    return table


def room_of(file: str, table: list[list[str]]) -> int:
    """Returns the row that a file belongs to; of several, the one that names it most exactly.

    The `__init__` of a folder of several rooms, which exports their names, belongs to the last of them.
    """
    folder = file.removesuffix("__init__.py")
    below = [row for row, names in enumerate(table) for name in names if name != folder and name.startswith(folder)]
    if folder != file and below:
        return len(table) if folder == "fcnjax/" else max(below)
    matches = [(len(name), row) for row, names in enumerate(table) for name in names if is_in(file, name)]
    assert matches, f"{file}: no row of the table in CONTRIBUTING.md names it or its folder; add it"
    return max(matches)[1]


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yields the nodes that Python runs when it imports a module: not the bodies of functions, nor type checking."""
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not typing_only:
            yield child
            yield from at_import(child)


def is_in(file: str, name: str) -> bool:
    return file.startswith(name) if name.endswith("/") else file == name


def imports(file: str, *, lazy: bool = True) -> Iterator[str]:
    """Yields the files that a file imports; for a name from a package, the file that defines it.

    Args:
        file: the importing file.
        lazy: whether to include imports inside functions.
    """
    tree = ast.parse((ROOT / file).read_text())
    for node in ast.walk(tree) if lazy else at_import(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: relative import; write the whole name"
            for alias in node.names:
                yield from defined_in(node.module, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from defined_in(alias.name, None)


def defined_in(module: str, name: str | None) -> Iterator[str]:
    """Yields the file of `from module import name`, if it belongs to this project."""
    path = module.replace(".", "/")
    if name is not None and (nested := as_file(f"{path}/{name}")):
        yield nested
    elif (file := as_file(path)) is not None:
        yield from re_exported(file, name) if file.endswith("__init__.py") and name else (file,)


def run_by(target: str, importer: str) -> Iterator[str]:
    """Yields the files that Python runs to import `target` from `importer`: the file, and packages of its own."""
    if target != importer:
        yield target
    for folder in Path(target).parents:
        if f"{folder}/__init__.py" in FILES and not Path(importer).is_relative_to(folder):
            yield f"{folder}/__init__.py"


def as_file(path: str) -> str | None:
    return next((file for file in (f"{path}.py", f"{path}/__init__.py") if file in FILES), None)


def re_exported(package: str, name: str) -> Iterator[str]:
    """Yields the file that defines a name which a package exports; the package itself if it defines the name."""
    for node in ast.walk(ast.parse((ROOT / package).read_text())):  # also what only type checkers import
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if alias.name == name or (alias.name == "*" and exports(node.module, name)):
                    yield from defined_in(node.module, name)
                    return
    yield package


def exports(package: str, name: str) -> bool:
    """Returns whether the `__init__` of a package lists a name."""
    return f'"{name}"' in (ROOT / package.replace(".", "/") / "__init__.py").read_text()


@pytest.mark.parametrize("file", FILES)
def test_imports_point_up_the_table(file):
    table = rooms()
    own = room_of(file, table)
    for target in imports(file):
        assert room_of(target, table) <= own, f"{file} imports {target}, which stands below it in CONTRIBUTING.md"
        for room, others in KNOWS_NOTHING_OF.items():
            if file.startswith(room):
                assert not target.startswith(others), f"{file} imports {target}: {room} must not know of it"


def test_every_row_of_the_table_has_files():
    for names in rooms():
        for name in names:
            assert any(is_in(file, name) for file in FILES), f"CONTRIBUTING.md names {name}, which does not exist"


def test_imports_make_no_circle():
    graph = {file: {each for target in imports(file, lazy=False) for each in run_by(target, file)} for file in FILES}
    done: set[str] = set()

    def visit(file: str, path: tuple[str, ...]):
        assert file not in path, " imports ".join((*path[path.index(file) :], file))
        if file not in done:
            for target in sorted(graph[file]):
                visit(target, (*path, file))
            done.add(file)

    for file in FILES:
        visit(file, ())


def test_folders_are_small_and_no_two_modules_share_a_name():
    counts = Counter(str(Path(file).parent) for file in FILES if not file.endswith("__init__.py"))
    large = {folder: count for folder, count in counts.items() if count > LARGEST and folder.startswith("fcnjax")}
    assert set(large) <= REGISTRIES, f"folders of more than {LARGEST} modules: {large}"
    names = Counter(
        Path(file).name
        for file in FILES
        if file.startswith("fcnjax") and not file.endswith("__init__.py") and str(Path(file).parent) not in REGISTRIES
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_every_room_says_what_it_is_for_in_one_line():
    for file in FILES:
        if file.endswith("__init__.py"):
            docstring = ast.get_docstring(ast.parse((ROOT / file).read_text()))
            assert docstring, f"{file}: has no docstring"
            assert docstring.splitlines()[0].endswith("."), f"{file}: its first line is not a sentence"


@pytest.mark.parametrize(
    ("module", "name", "file"),
    [
        ("fcnjax.data", "EpochPlan", "fcnjax/data/planning/epoch_plan.py"),
        ("fcnjax.data.planning", "EpochPlan", "fcnjax/data/planning/epoch_plan.py"),
        ("fcnjax", "models", "fcnjax/models/__init__.py"),
        ("fcnjax", "Padded", "fcnjax/padded.py"),
        ("fcnjax.padded", "Padded", "fcnjax/padded.py"),
    ],
)
def test_an_import_is_looked_up_where_it_is_defined(module, name, file):
    assert list(defined_in(module, name)) == [file]
