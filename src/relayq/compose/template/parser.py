"""Template text to tree: tags and blocks by a stack, so that nesting them nests no calls (spec templates.md 2.3)."""

from __future__ import annotations

from collections.abc import Callable

from relayq.compose.template.errors import LimitFault, SyntaxFault, TemplateError
from relayq.compose.template.limits import MAX_NESTING, NESTING_CAUSE, TimeLeft
from relayq.compose.template.scanner import Scanner, TagKind, TagStart
from relayq.compose.template.tag_parser import TagParser
from relayq.compose.template.tree import (
    Assign,
    Branch,
    Expression,
    Foreach,
    If,
    Item,
    Output,
    Text,
    Tree,
    Variable,
)

_BRACES = {"ldelim": "{", "rdelim": "}"}


class _Block:
    """An ``if`` or ``foreach`` that is not closed yet; ``items`` is what is being filled."""

    __slots__ = ("branches", "condition", "has_else", "header", "items", "line", "main")

    def __init__(
        self, line: int, condition: Expression | None, header: tuple[Expression, str | None, str] | None
    ) -> None:
        self.line = line
        self.condition = condition
        self.header = header
        self.branches: list[Branch] = []
        self.main: list[Item] = []
        self.items: list[Item] = []
        self.has_else = False

    @property
    def name(self) -> str:
        return "if" if self.header is None else "foreach"

    def end_branch(self) -> None:
        """Everything so far belongs to the last condition."""
        if self.condition is not None:
            self.branches.append(Branch(self.condition, tuple(self.items)))
            self.condition = None
        else:
            self.main = self.items
        self.items = []

    def close(self) -> Item:
        """The finished block."""
        if not self.has_else:
            self.end_branch()
        otherwise = tuple(self.items)
        if self.header is None:
            return If(self.line, tuple(self.branches), otherwise)
        source, key_name, value_name = self.header
        return Foreach(self.line, source, key_name, value_name, tuple(self.main), otherwise)


def parse_template(text: str, *, is_html: bool, time_left: TimeLeft) -> Tree:
    """Tree of a template.

    Args:
        text: Template with LF line ends.
        is_html: Tags may hold entities.
        time_left: Asked now and then.

    Raises:
        TemplateError: It is no template, or the time is up.
    """
    scanner = Scanner(text, is_html=is_html, time_left=time_left)
    try:
        return _Parser(scanner).template()
    except SyntaxFault as fault:
        raise TemplateError(fault.cause, _line_at(text, fault.position)) from None
    except RecursionError:
        raise TemplateError(NESTING_CAUSE, _line_at(text, scanner.at)) from None
    except TemplateError as error:
        error.line = error.line or _line_at(text, scanner.at)
        raise


def _line_at(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


class _Parser:
    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self._text = scanner.text
        self._items: list[Item] = []
        self._bottom = self._items
        self._open: list[_Block] = []
        self._inside = TagParser(scanner)
        self._tags: dict[TagKind, Callable[[TagStart], int]] = {
            TagKind.VARIABLE: self._output_or_assignment,
            TagKind.BLOCK: self._block_tag,
            TagKind.WORD: self._word_tag,
            TagKind.COMMENT: self._comment,
            TagKind.MODE: self._misplaced_mode,
            TagKind.UNKNOWN: self._unknown,
        }

    def template(self) -> Tree:
        mode, copied = self._mode()
        at = copied
        scanner = self._scanner
        while (tag := scanner.find_tag(at)) is not None:
            # Text before the tag goes in first; where the tag turns out to be none, it is taken back.
            end: int | None
            if tag.kind is TagKind.MAYBE:
                output = self._maybe_output(tag)
                if output is None:
                    at = tag.start + 1
                    continue
                self._copy(copied, tag.start)
                self._items.append(output)
                end = scanner.at
            else:
                self._copy(copied, tag.start)
                end = self._tags[tag.kind](tag)
            at = copied = end
        self._copy(copied, len(self._text))
        if self._open:
            block = self._open[-1]
            raise TemplateError(f"unclosed {block.name}", block.line)
        return Tree(mode, tuple(self._items), scanner.tokens)

    def _copy(self, start: int, end: int) -> None:
        if end > start:
            self._items.append(Text(self._text[start:end]))

    # Tags. Each handler returns where the text goes on.

    def _mode(self) -> tuple[str | None, int]:
        """Escaping asked for by the very first tag, and where the rest begins."""
        tag = self._scanner.find_tag(0)
        if tag is None or tag.start > 0:
            return None, 0
        if tag.kind is TagKind.WORD and tag.word == "escape":
            return "html", tag.end
        if tag.kind is not TagKind.MODE:
            return None, 0
        scanner = self._scanner
        scanner.at = tag.end
        name = scanner.advance_to_name()
        self._inside.expect_end()
        return name, scanner.at

    def _misplaced_mode(self, tag: TagStart) -> int:
        raise SyntaxFault("mode is not the first tag", tag.start)

    def _unknown(self, tag: TagStart) -> int:
        raise SyntaxFault(f"unknown tag {{{tag.word[:40]}}}", tag.start)

    def _comment(self, tag: TagStart) -> int:
        end = self._text.find("*}", tag.end)
        if end < 0:
            raise SyntaxFault("unclosed comment", tag.start)
        return end + 2

    def _maybe_output(self, tag: TagStart) -> Output | None:
        """Output, unless what follows is no complete expression."""
        try:
            self._inside.begin(tag.end)
            value = self._inside.expression()
            self._inside.require_end()
        except LimitFault:
            raise
        except SyntaxFault:
            return None
        return Output(self._scanner.line_at(tag.start), value)

    def _output_or_assignment(self, tag: TagStart) -> int:
        scanner = self._scanner
        line = scanner.line_at(tag.start)
        self._inside.begin(tag.start + 1)
        value = self._inside.expression()
        if isinstance(value, Variable) and self._inside.is_operator("="):
            scanner.advance()
            assigned = self._inside.expression()
            self._items.append(Assign(line, value.name, assigned))
        else:
            self._items.append(Output(line, value))
        return self._inside.expect_end()

    def _block_tag(self, tag: TagStart) -> int:
        line = self._scanner.line_at(tag.start)
        self._inside.begin(tag.end)
        if tag.word == "assign":
            return self._assign(line)
        if tag.word == "foreach":
            header = self._foreach_header()
            end = self._inside.expect_end()
            self._push(_Block(line, None, header))
            return end
        condition = self._inside.expression()
        end = self._inside.expect_end()
        if tag.word == "if":
            self._push(_Block(line, condition, None))
        else:
            block = self._current("if", tag)
            if block.has_else:
                raise TemplateError("elseif behind else", line)
            block.end_branch()
            block.condition = condition
            self._items = block.items
        return end

    def _assign(self, line: int) -> int:
        value = self._inside.expression()
        self._inside.expect_word("to")
        name = self._inside.expect_variable()
        self._items.append(Assign(line, name, value))
        return self._inside.expect_end()

    def _foreach_header(self) -> tuple[Expression, str | None, str]:
        """Source, name of the key and name of the value."""
        source = self._inside.postfix()
        if isinstance(source, Variable) and self._inside.is_word("in"):
            self._scanner.advance()
            return self._inside.postfix(), None, source.name
        self._inside.expect_word("as")
        name = self._inside.expect_variable()
        if not self._inside.is_operator("=>"):
            return source, None, name
        self._scanner.advance()
        return source, name, self._inside.expect_variable()

    def _word_tag(self, tag: TagStart) -> int:
        word = tag.word
        if word in _BRACES:
            self._items.append(Text(_BRACES[word]))
        elif word == "literal":
            return self._literal(tag)
        elif word == "escape":
            return self._misplaced_mode(tag)
        elif word in {"else", "foreachelse"}:
            block = self._current("if" if word == "else" else "foreach", tag)
            if block.has_else:
                raise SyntaxFault(f"second {word}", tag.start)
            block.end_branch()
            block.has_else = True
            self._items = block.items
        else:
            block = self._current("foreach" if word == "/foreach" else "if", tag)
            self._open.pop()
            self._items = self._open[-1].items if self._open else self._bottom
            self._items.append(block.close())
        return tag.end

    def _literal(self, tag: TagStart) -> int:
        found = self._scanner.find_end_of_literal(tag.end)
        if found is None:
            raise SyntaxFault("unclosed literal", tag.start)
        self._copy(tag.end, found[0])
        return found[1]

    def _push(self, block: _Block) -> None:
        if len(self._open) == MAX_NESTING:
            raise TemplateError(NESTING_CAUSE, block.line)
        self._open.append(block)
        self._items = block.items

    def _current(self, name: str, tag: TagStart) -> _Block:
        """The innermost open block, which has to be the one the tag belongs to."""
        if not self._open or self._open[-1].name != name:
            raise SyntaxFault(f"{tag.word} without {name}", tag.start)
        return self._open[-1]
