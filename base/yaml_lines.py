"""YAML with its line numbers: plain data beside where each value stands in the file."""

from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from base.text_files import TextFileError, read_text

_SEPARATORS = "\x85\u2028\u2029"


class YamlProblem(Exception):
    """The file cannot be read as YAML; the text is `file:line: what is wrong`."""


class Lines:
    """Line numbers (from 1) of the values of one document, by their path of keys and indices."""

    def __init__(self, root: Node | None) -> None:
        self._root = root

    def of(self, loc: tuple[int | str, ...]) -> int:
        """The line of the value at `loc`, or of its closest parent that exists."""
        return self._find(loc)[0]

    def text_of(self, loc: tuple[int | str, ...], row: int) -> int:
        """The line of row `row` (from 0) of the text at `loc`: exact for a block that keeps its line
        breaks (`|`), else the text's own line."""
        line, node = self._find(loc)
        if isinstance(node, ScalarNode) and node.style == "|":
            return line + 1 + row
        return line

    def _find(self, loc: tuple[int | str, ...]) -> tuple[int, Node | None]:
        node = self._root
        line = 1 if node is None else _line(node)
        for part in loc:
            child: Node | None = None
            if isinstance(node, MappingNode):
                for key, value in node.value:
                    if isinstance(key, ScalarNode) and key.value == str(part):
                        child, line = value, _line(key)
            elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
                child = node.value[part]
                line = _line(child)
            if child is None:
                return line, None
            node = child
        return line, node


def read_yaml(path: Path) -> tuple[Any, Lines]:
    """Parse `path` (safe YAML, one document). Raises `YamlProblem`, also for a key written twice,
    which YAML readers otherwise resolve silently in favour of the last."""
    if not path.exists():
        raise YamlProblem(f"{path}: no such file")
    try:
        text = read_text(path)
    except TextFileError as error:
        raise YamlProblem(str(error)) from error
    stand_ins = _stand_ins(text)
    try:
        loader = yaml.SafeLoader(text.translate({ord(own): other for own, other in stand_ins.items()}))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlProblem(
            f"{path}:{line}: holds the character U+{error.character:04X}, which YAML forbids"
        ) from error
    try:
        root = loader.get_single_node()
        if root is not None:
            _put_back(root, {ord(other): own for own, other in stand_ins.items()})
            _refuse_duplicates(path, root)
        data = None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise YamlProblem(f"{path}:{line}: {error.problem or 'is not valid YAML'}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlProblem(f"{path}:1: is not valid YAML: {str(error)[:200]}") from error
    finally:
        loader.dispose()
    return data, Lines(root)


def _stand_ins(text: str) -> dict[str, str]:
    """Characters of private use in the place of those that only YAML 1.1 takes for line ends."""
    free = (character for character in map(chr, range(0xE000, 0xF8FF)) if character not in text)
    return {separator: next(free) for separator in _SEPARATORS if separator in text}


def _put_back(root: Node, characters: dict[int, str]) -> None:
    pending, seen = [root] if characters else [], set[int]()
    while pending:
        node = pending.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, ScalarNode):
            node.value = node.value.translate(characters)
        elif isinstance(node, SequenceNode):
            pending += node.value
        elif isinstance(node, MappingNode):
            pending += (each for pair in node.value for each in pair)


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _refuse_duplicates(path: Path, root: Node) -> None:
    pending, seen = [root], set[int]()
    while pending:
        node = pending.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, SequenceNode):
            pending += node.value
        elif isinstance(node, MappingNode):
            first: dict[str, int] = {}
            for key, value in node.value:
                pending.append(value)
                if not isinstance(key, ScalarNode) or key.tag.endswith(":merge"):
                    continue
                if key.value in first:
                    raise YamlProblem(
                        f"{path}:{_line(key)}: {key.value}: written twice, first on line {first[key.value]}"
                    )
                first[key.value] = _line(key)
