"""YAML with its line numbers: plain data beside where each value stands in the file."""

from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode


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
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise YamlProblem(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise YamlProblem(f"{path}: is not UTF-8 text") from error
    except OSError as error:
        raise YamlProblem(f"{path}: cannot be read: {error.strerror}") from error
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is not None:
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
