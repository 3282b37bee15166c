"""One-line changes of Python source that look like real mistakes."""

import ast
import itertools
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

OPERATORS = {
    **{"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="},
    **{"is": "is not", "is not": "is", "in": "not in", "not in": "in", "and": "or", "or": "and"},
    **{"+": "-", "-": "+", "*": "/", "/": "*", "//": "*", "%": "*", "**": "*", "&": "|", "|": "&"},
}
NAMES = {
    **{"minimum": "maximum", "maximum": "minimum", "min": "max", "max": "min", "any": "all", "all": "any"},
    **{"floor": "ceil", "ceil": "floor", "zeros": "ones", "ones": "zeros", "argmax": "argmin", "sum": "max"},
    **{"logical_and": "logical_or", "zeros_like": "ones_like", "square": "abs"},
}
DROPPED = ("where", "axis", "keepdims", "dtype", "padding", "stride", "dilation", "groups", "ceil", "bias", "train")
DROPPED += ("rate", "stream", "step", "epoch", "seed", "accuracy", "terminal", "rtol", "atol", "minlength", "kind")


class Mutation(NamedTuple):
    """One changed line.

    Attributes:
        file: the file, relative to the project.
        line: number of the line, from 1.
        before: the line without its indentation.
        after: the changed line, likewise.
    """

    file: str
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}\n    - {self.before}\n    + {self.after}"


def mutations_of(file: str, source: str) -> list[Mutation]:
    """Returns all mutations of a file, in the order of its lines."""
    lines, found = source.splitlines(), {}
    for line, start, stop, replacement in sorted(set(_edits(ast.parse(source), lines))):
        text = lines[line - 1].encode()  # `ast` counts bytes
        after = (text[:start] + replacement.encode() + text[stop:]).decode()
        found[Mutation(file, line, text.decode().strip(), after.strip())] = None
    return list(found)


def applied(mutation: Mutation, source: str) -> str:
    """Returns the source with the mutation."""
    lines = source.splitlines(keepends=True)
    old = lines[mutation.line - 1]
    assert old.strip() == mutation.before, f"{mutation.file}:{mutation.line} has changed"
    lines[mutation.line - 1] = old.replace(mutation.before, mutation.after)
    return "".join(lines)


def sample(root: Path, files: list[str], count: int, seed: int) -> list[Mutation]:
    """Returns one mutation each of `count` lines, drawn from all lines of the files that have any, in random order."""
    by_line: dict[tuple[str, int], list[Mutation]] = {}
    for file in sorted(files):
        for mutation in mutations_of(file, (root / file).read_text()):
            by_line.setdefault((file, mutation.line), []).append(mutation)
    rng = random.Random(seed)
    return [rng.choice(by_line[line]) for line in rng.sample(sorted(by_line), min(count, len(by_line)))]


Edit = tuple[int, int, int, str]  # line, first byte, byte after the last, replacement


def _edits(tree: ast.AST, lines: list[str]) -> Iterator[Edit]:
    """Yields the edits of a tree, leaving out annotations, messages, assertions, decorators and imports."""
    if isinstance(tree, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    yield from (edit for edit in _own_edits(tree, lines) if edit)
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and getattr(child, "arg", "") != "strict":  # that checks the code itself
                yield from _edits(child, lines)


def _own_edits(node: ast.AST, lines: list[str]) -> Iterator[Edit | None]:
    match node:
        case ast.Compare(left, _, comparators):
            for one, other in zip([left, *comparators], comparators, strict=False):
                yield _between(one, other, lines)
        case ast.BinOp(left, op, right) if not any(map(_is_text, (left, right))) and not _joins_paths(op, left, right):
            yield _between(left, right, lines)
        case ast.BoolOp(_, values):
            for one, other in itertools.pairwise(values):
                yield _between(one, other, lines)
        case ast.UnaryOp(_, operand) if node.lineno == operand.lineno:
            yield node.lineno, node.col_offset, operand.col_offset, ""
        case ast.If(test) | ast.IfExp(test) | ast.While(test):
            yield _whole(test, f"not ({ast.unparse(test)})")
        case ast.Constant():
            yield _constant(node)
        case ast.Name(name, ast.Load()) if name in NAMES:
            yield _whole(node, NAMES[name])
        case ast.Attribute(ast.Name("batch"), "values", ast.Load()):
            yield _whole(node, "batch.raw_values")
        case ast.Attribute(_, name, ast.Load()) if name in NAMES and node.end_col_offset is not None:
            start = node.end_col_offset - len(name)
            yield node.end_lineno or node.lineno, start, node.end_col_offset, NAMES[name]
        case ast.Expr(ast.Call()) | ast.AugAssign():
            yield _whole(node, "pass")
        case ast.Subscript(value, ast.Constant(1) as index):
            del value
            yield _whole(index, "0")
        case ast.Call():
            yield from _call_edits(node, lines)


def _call_edits(node: ast.Call, lines: list[str]) -> Iterator[Edit | None]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name == "where" and len(node.args) == 3 and node.args[1].lineno == node.args[2].end_lineno:
        one, other = node.args[1:]
        text = f"{ast.unparse(other)}, {ast.unparse(one)}"
        yield one.lineno, one.col_offset, other.end_col_offset or 0, text
    for keyword in node.keywords:
        if keyword.arg in DROPPED and keyword.lineno == keyword.end_lineno:
            before = lines[keyword.lineno - 1].encode()[: keyword.col_offset].decode()
            comma = re.search(r",\s*$", before)
            if comma:
                start = len(before[: comma.start()].encode())
                yield keyword.lineno, start, keyword.end_col_offset or 0, ""


def _constant(node: ast.Constant) -> Edit | None:
    value = node.value
    if isinstance(value, bool):
        return _whole(node, str(not value))
    if isinstance(value, int):
        return _whole(node, str(value + 1))
    return _whole(node, repr(2 * value or 1.0)) if isinstance(value, float) else None


def _between(left: ast.expr, right: ast.expr, lines: list[str]) -> Edit | None:
    """Returns the edit of the operator between two operands, if all stand on one line."""
    if left.end_lineno != right.lineno or left.end_col_offset is None:
        return None
    between = lines[right.lineno - 1].encode()[left.end_col_offset : right.col_offset].decode()
    found = re.fullmatch(r"([)\s]*)([^()\s]+(?: not| in)?)([(\s]*)", between)
    if not found or found[2] not in OPERATORS:
        return None
    start = left.end_col_offset + found.start(2)
    return right.lineno, start, start + len(found[2]), OPERATORS[found[2]]


def _whole(node: ast.expr | ast.stmt, replacement: str) -> Edit | None:
    if node.lineno != node.end_lineno or node.end_col_offset is None:
        return None
    return node.lineno, node.col_offset, node.end_col_offset, replacement


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr | ast.List) or isinstance(getattr(node, "value", None), str)


def _joins_paths(operator: ast.operator, left: ast.expr, right: ast.expr) -> bool:
    """Returns whether a quotient is a path: other operators of paths fail in any test."""
    name = ast.unparse(right)
    named = isinstance(right, ast.Constant) or name.isupper() or name.startswith("str(")
    return isinstance(operator, ast.Div) and named and re.search("path|folder|dir|to", ast.unparse(left)) is not None
