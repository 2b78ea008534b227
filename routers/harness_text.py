"""Tells what a person asks from what a program puts around it: reminders, environment blocks, pasted files.

Agents, editors and chat front ends (harnesses) wrap their own text in elements such as `<system-reminder>`.
The general rule is of form: an element that begins a line, or ends one, and is not one of HTML's
(`ide_opened_file`, `command-name`, `reminderInstructions`) or names a file was put there by a program.
Its name says what it is: the harness's own text, which nobody asks; something pasted, which is context; or a
wrapper around the very request. What is mentioned within a sentence, or quoted in a fenced block, is the
person's. Pure text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import NamedTuple

TOKENS = 5_000
"""Tags and other marks read of one text: a bound on what it may cost."""
MENTION_CHARACTERS = 80
"""An element within a line that holds less than this may be a mention of its tag."""
QUESTION_CHARACTERS = 200
"""After a tag that is never closed, a sentence shorter than this is the person's."""


class Source(Enum):
    """Whose words a piece of text is."""

    SAID = "said"
    PASTED = "pasted"
    HARNESS = "harness"


@dataclass(frozen=True, slots=True)
class UserWords:
    """A user turn, taken apart: the person's own words, and what was pasted beside them."""

    said: str
    pasted: str


def user_words(text: str) -> UserWords:
    """What of `text` the person says, and what is pasted; the harness's own text is in neither."""
    pieces = _pieces(text)
    if pieces is None:
        return UserWords(text, "")
    said = _joined(each.text for each in pieces if each.source is Source.SAID)
    return UserWords(said, _joined(each.text for each in pieces if each.source is Source.PASTED))


def without_harness(text: str) -> str:
    """`text` without the harness's own text; empty when there is nothing else."""
    pieces = _pieces(text)
    if pieces is None:
        return text
    return _joined(each.text for each in pieces if each.source is not Source.HARNESS)


class _Piece(NamedTuple):
    """`wrapped`: within an element that says of itself that it holds the user's request."""

    source: Source
    text: str
    wrapped: bool = False


_NAME = r"[A-Za-z][\w.:-]*(?: instructions)?"
_TOKEN = re.compile(
    rf"""
    ^[ \t]*(?P<fence>`{{3,}}|~{{3,}})
    | ^[ \t]*(?P<comment><!--)
    | <(?P<close>/?)(?P<name>{_NAME})(?P<attributes>(?:\s[^<>]{{0,2000}}?)?)(?P<empty>/?)>
    | ^(?:
        (?P<to_next>
            \#{{1,3}}\ *(?:\S*/)?(?:AGENTS|CLAUDE|GEMINI)\.md
                (?:\ instructions\b[^\n]*$ | \b[^\n]*(?=\n\s*<INSTRUCTIONS>))
            | Contents\ of\ \S*(?:AGENTS|CLAUDE|GEMINI)\.md\b[^\n]*:[ \t]*$
            | \[[A-Za-z]+_\w+(?:\ for\ [^\]\n]{{0,500}})?\]\ Result:
            | \[ERROR\]\ You\ did\ not\ use\ a\ tool
            | \#\ TODO\ LIST\ [A-Z(]{{2}}
            | \#?\ ?\*SEARCH/REPLACE\ block\*\ Rules:
            | This\ is\ the\ Gemini\ CLI\.\ We\ are\ setting\ up\ the\ context
            | ---\ Context\ from:
        )
        | (?P<to_request>\#\ Context\ from\ my\ IDE\ setup:)
        | (?P<pasted_to_next>
            (?:<SYSTEM>\ )?I\ have\ \*added\ (?:these\ files|this\ file)\ to\ the\ chat\*
            | Here\ are\ summaries\ of\ some\ files\ present\ in\ my\ git\ repository
            | Result\ of\ calling\ the\ \w+\ tool:
            | ---\ Content\ from\ referenced\ files\ ---
        )
        | (?P<line>
            \[Request\ interrupted\ by\ user[^\]\n]*\]
            | Caveat:\ The\ messages\ below\ were\ generated\ by\ the\ user\ while\ running\ local\ commands
            | Called\ the\ \w+\ tool\ with\ the\ following\ input:
        )
        | (?P<git>
            gitStatus:
            | This\ is\ the\ git\ status\ at\b
            | On\ branch\ \S+[ \t]*$
        )
    )
    """,
    re.MULTILINE | re.VERBOSE,
)
_REQUEST = re.compile(r"^## My request for [^\n]*:[ \t]*$", re.MULTILINE)
"""What ends the context that an editor writes as Markdown."""
_GIT_LINE = re.compile(
    r"""
    [ \t]*$
    | gitStatus: | This\ is\ the\ git\ status
    | On\ branch\ \S+[ \t]*$ | Your\ branch\ is\b
    | (?:Current\ branch|Main\ branch|Git\ user|Status|Recent\ commits)\b[^\n]*:
    | Changes\ (?:not\ staged|to\ be\ committed) | Untracked\ files: | nothing\ (?:added\ )?to\ commit
    | no\ changes\ added\ to\ commit | \(clean\)
    | [ \t]*\(use\ "git | \t\S
    | [ ]?[MADRCTU?!]{1,2}[ ]+\S+(?:\ ->\ \S+)?[ \t]*$
    | [0-9a-f]{7,40}\ \S
    """,
    re.VERBOSE,
)


def _names(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_WRAPPERS = _names(
    "answer ask command_args feedback human instruction instructions message prompt query question request "
    "task user user_input user_message user_prompt user_query user_question user_request user_task"
)
"""Elements that hold the person's own request."""
_HARNESS = _names(
    "additional_metadata agent_skills agent_transcripts available_skills available_tools collaboration_mode "
    "current_file current_time custom_instructions edit_history editor_context env environment "
    "ephemeral_message git_branch git_status important_reminders memories memory new_diagnostics now "
    "observation open_and_recently_viewed_files open_files open_tabs permissions_instructions persona "
    "project_instructions project_layout recently_viewed_files recommended_plugins repo_context "
    "repository_info rules session_context session_info skill skills subagent_notification task_notification "
    "timestamp todo_list todos tool_context tools turn_aborted user_info user_information user_instructions "
    "user_memories user_memory user_rules user_shell_command visible_files workspace_context workspace_info "
    "workspace_state"
)
"""Elements of known harnesses with names that other elements could have too."""
_HARNESS_WORDS = frozenset({"caveat", "hook", "reminder", "reminders"})
_HARNESS_BEGINNINGS = (
    *("bash_", "claude_", "cline_", "codex_", "command_", "copilot_", "cursor_", "environment_", "ide_"),
    *("function_", "local_command_", "mcp_", "opencode_", "system_", "tool_"),
)
_PASTED = _names(
    "attachment attachments code content context data diff document documents file files ide_selection log "
    "logs output selection snippet source sources stderr stdout system_prompt"
)
_AFTER_A_WORD = (" ", ",", ".", ":", ";", "!", "'")
"""What follows a tag's name in a sentence."""
_HTML = _names(
    "a abbr article aside audio b blockquote body br button canvas center circle dd div dl dt em fieldset "
    "figure font footer form g h1 h2 h3 h4 h5 h6 head header hr html i iframe img input label legend li line "
    "link main mark math meta nav ol option p path pre rect s script section select small span strong style "
    "sub sup svg table tbody td template text textarea tfoot th thead title tr tt u ul video"
)
"""Elements of pages, which people paste and ask about like other code."""
_FILE_ATTRIBUTE = re.compile(r"\b(?:path|file|file_?name|file_?path|filename|uri|lines?)\s*=", re.IGNORECASE)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def _kind(name: str, attributes: str) -> Source | None:
    """Whose words an element holds; None for an ordinary element, as of HTML or a type's parameter."""
    plain = _plain(name)
    if plain in _WRAPPERS:
        return Source.SAID
    if plain in _PASTED:
        return Source.PASTED
    words = plain.split("_")
    if plain in _HARNESS or plain.startswith(_HARNESS_BEGINNINGS) or not _HARNESS_WORDS.isdisjoint(words):
        return Source.HARNESS
    if len(words) > 1 or plain not in _HTML or _FILE_ATTRIBUTE.search(attributes):
        return Source.PASTED
    return None


def _plain(name: str) -> str:
    """An element's name in one way of writing."""
    return _HUMP.sub("_", name).lower().replace("-", "_").replace(" ", "_")


def _of_the_user(name: str) -> bool:
    return _plain(name) in {"user_query", "user_request"}


def _pieces(text: str) -> list[_Piece] | None:
    """`text` in pieces; None when all of it is the person's."""
    tokens = list(islice(_TOKEN.finditer(text), TOKENS))
    return _Scan(text, tokens).pieces() if tokens else None


class _Scan:
    """One pass over the tags and marks of a text."""

    def __init__(self, text: str, tokens: list[re.Match[str]]) -> None:
        self._text = text
        self._tokens = tokens
        self._closed_by = _matching(tokens)
        self._out: list[_Piece] = []
        self._at = 0
        """The end of what was taken so far."""
        self._wrapped = 0
        """Elements that hold the user's request and are not closed yet."""
        self._comment: tuple[int, int | None] = (-1, None)
        """Where the end of a comment was found last, and the end itself if nothing follows on its line."""

    def pieces(self) -> list[_Piece] | None:
        """None when all of the text is the person's."""
        number, unwrapped = 0, set[int]()
        while number < len(self._tokens):
            token = self._tokens[number]
            if token["fence"]:
                number = self._after_fence(number)
            elif not token["name"]:
                number = self._mark(number)
            elif token["close"]:
                if number in unwrapped:
                    self._take(token.start(), token.end())
                    self._wrapped -= _of_the_user(token["name"])
                number += 1
            else:
                number = self._element(number, unwrapped)
        if not self._out:
            return None
        self._take(len(self._text), len(self._text))
        if not any(each.wrapped and each.text.strip() for each in self._out):
            return self._out
        # All else that is said there is a template's.
        return [each for each in self._out if each.wrapped or each.source is not Source.SAID]

    def _take(self, until: int, resume: int, source: Source = Source.HARNESS, inner: str = "") -> None:
        """The text up to `until` is the person's, then `inner` is of `source`; goes on at `resume`."""
        self._out.append(_Piece(Source.SAID, self._text[self._at : until], self._wrapped > 0))
        if inner:
            self._out.append(_Piece(source, inner))
        self._at = max(self._at, resume)

    def _after_fence(self, number: int) -> int:
        """The token after a fenced block, which is quoted and stays as it is."""
        fence = self._tokens[number]["fence"]
        for later in range(number + 1, len(self._tokens)):
            other = self._tokens[later]["fence"]
            if other and other[0] == fence[0] and len(other) >= len(fence):
                return later + 1
        return number + 1

    def _mark(self, number: int) -> int:
        """What a known beginning introduces: a line, git's lines, or all up to the next element."""
        token, text = self._tokens[number], self._text
        if token["line"]:
            end = _line_end(text, token.start())
        elif token["comment"]:
            if (comment := self._comment_end(token.start())) is None:
                return number + 1
            end = comment
        elif token["to_request"]:
            request = _REQUEST.search(text, token.end())
            end = len(text) if request is None else request.end()
        elif token["git"]:
            end = _line_end(text, token.start())
            while end < len(text) and _GIT_LINE.match(text, end, _line_end(text, end)):
                end = _line_end(text, end)
        else:
            end = self._past_instructions(number, self._next_element(number))
        source = Source.PASTED if token["pasted_to_next"] else Source.HARNESS
        self._take(token.start(), end, source, text[token.start() : end])
        return self._first_after(number + 1, end)

    def _element(self, number: int, unwrapped: set[int]) -> int:
        """An opening tag: the element that it begins is taken out, unwrapped, or left alone."""
        token, text = self._tokens[number], self._text
        kind = _kind(token["name"], token["attributes"])
        begins_line = not text[_line_start(text, token.start()) : token.start()].strip()
        if kind is None:
            return number + 1
        if token["empty"]:
            if begins_line and kind is not Source.SAID:
                self._take(token.start(), token.end())
            return number + 1
        closing = self._closed_by.get(number)
        if closing is None:
            cut = begins_line and kind is Source.HARNESS
            return self._unclosed(number) if cut else number + 1
        close = self._tokens[closing]
        ends_line = not text[close.end() : _line_end(text, close.end())].strip()
        mention = not begins_line and close.start() - token.end() < MENTION_CHARACTERS
        if mention or not (begins_line or ends_line):
            return number + 1
        if kind is Source.SAID:
            unwrapped.add(closing)
            self._take(token.start(), token.end())
            self._wrapped += _of_the_user(token["name"])
            return number + 1
        self._take(token.start(), close.end(), kind, text[token.end() : close.start()])
        return closing + 1

    def _unclosed(self, number: int) -> int:
        """A tag never closed holds all up to the request that follows, unless a person talks of it."""
        token = self._tokens[number]
        end = self._next_element(number, wrappers_only=True)
        inner = self._text[token.end() : end]
        sentence = "?" in inner or "\uff1f" in inner or inner[:1] in _AFTER_A_WORD
        if sentence and len(inner) < QUESTION_CHARACTERS and "\n" not in inner.strip():
            return number + 1
        self._take(token.start(), end)
        return self._first_after(number + 1, end)

    def _comment_end(self, start: int) -> int | None:
        """The end of the comment that begins at `start`; None where it has none, or more on its last line.
        Comments may share an end, which is looked for once."""
        if start > self._comment[0]:
            end = self._text.find("-->", start)
            at = len(self._text) if end < 0 else end
            alone = end >= 0 and not self._text[end + 3 : _line_end(self._text, end)].strip()
            self._comment = at, end + 3 if alone else None
        return self._comment[1]

    def _past_instructions(self, number: int, at: int) -> int:
        """The end of the `<INSTRUCTIONS>` that hold a file named above them, token `number`, if they begin at
        `at`."""
        number = self._first_after(number + 1, at)
        if number == len(self._tokens) or (self._tokens[number]["name"] or "").lower() != "instructions":
            return at
        closing = self._closed_by.get(number)
        return len(self._text) if closing is None else self._tokens[closing].end()

    def _next_element(self, number: int, *, wrappers_only: bool = False) -> int:
        """Where the next element begins that a program put there, or the text ends."""
        for later in range(number + 1, len(self._tokens)):
            token = self._tokens[later]
            if not token["name"] or token["close"]:
                continue
            kind = _kind(token["name"], token["attributes"])
            at = token.start()
            if kind is None or (wrappers_only and kind is not Source.SAID):
                continue
            if not self._text[_line_start(self._text, at) : at].strip():
                return at
        return len(self._text)

    def _first_after(self, number: int, at: int) -> int:
        while number < len(self._tokens) and self._tokens[number].start() < at:
            number += 1
        return number


def _matching(tokens: list[re.Match[str]]) -> dict[int, int]:
    """The closing tag of each opening one, by their numbers; names match in any case, and nest."""
    found: dict[int, int] = {}
    open_tags: dict[str, list[int]] = {}
    for number, token in enumerate(tokens):
        name = token["name"]
        if not name or token["empty"]:
            continue
        if not token["close"]:
            open_tags.setdefault(name.lower(), []).append(number)
        elif stack := open_tags.get(name.lower()):
            found[stack.pop()] = number
    return found


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _line_end(text: str, at: int) -> int:
    """The beginning of the next line."""
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _joined(pieces: Iterator[str]) -> str:
    return "\n".join(stripped for each in pieces if (stripped := each.strip()))
