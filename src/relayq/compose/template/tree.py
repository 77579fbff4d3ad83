"""What a template says: the nodes between the parser and the compiler."""

from __future__ import annotations

import enum

import msgspec


class Level(enum.IntEnum):
    """Binary operators by how strongly they bind, weakest first (spec templates.md 4)."""

    OR = 1
    AND = 2
    NOT = 3
    EQUALITY = 4
    RELATION = 5
    SUM = 6
    PRODUCT = 7


class Constant(msgspec.Struct, frozen=True):
    """A literal."""

    value: str | int | float | bool


class Variable(msgspec.Struct, frozen=True):
    """``$name``, the name without its dollar."""

    name: str


class Member(msgspec.Struct, frozen=True):
    """``.name``."""

    name: str


class Index(msgspec.Struct, frozen=True):
    """``[expression]``."""

    index: Expression


class Modifier(msgspec.Struct, frozen=True):
    """``|name:argument:…``."""

    name: str
    arguments: tuple[Constant | Variable, ...]


class Postfix(msgspec.Struct, frozen=True):
    """An operand and what is applied to it, left to right."""

    operand: Expression
    steps: tuple[Member | Index | Modifier, ...]


class Minus(msgspec.Struct, frozen=True):
    """Unary minus."""

    operand: Expression


class Not(msgspec.Struct, frozen=True):
    """``not`` or ``!``."""

    operand: Expression


class Chain(msgspec.Struct, frozen=True):
    """Operands joined by operators of one level, to be evaluated left to right.

    A flat chain, not pairs of pairs: a sum of a thousand terms must not nest a thousand calls.
    """

    level: Level
    first: Expression
    rest: tuple[tuple[str, Expression], ...]


Expression = Constant | Variable | Postfix | Minus | Not | Chain


class Text(msgspec.Struct, frozen=True):
    """Copied as it is."""

    text: str


class Output(msgspec.Struct, frozen=True):
    """``{expression}``."""

    line: int
    value: Expression


class Assign(msgspec.Struct, frozen=True):
    """``{assign expression to $name}`` or ``{$name = expression}``."""

    line: int
    name: str
    value: Expression


class Branch(msgspec.Struct, frozen=True):
    """``{if condition}`` or ``{elseif condition}`` with what follows it."""

    condition: Expression
    items: tuple[Item, ...]


class If(msgspec.Struct, frozen=True):
    """``{if}`` … ``{/if}``."""

    line: int
    branches: tuple[Branch, ...]
    otherwise: tuple[Item, ...]


class Foreach(msgspec.Struct, frozen=True):
    """``{foreach}`` … ``{/foreach}``; ``key_name`` is ``None`` without ``=>``."""

    line: int
    source: Expression
    key_name: str | None
    value_name: str
    items: tuple[Item, ...]
    otherwise: tuple[Item, ...]


Item = Text | Output | Assign | If | Foreach


class Tree(msgspec.Struct, frozen=True):
    """A whole template.

    Attributes:
        mode: Name in ``{mode=…}``, ``None`` without one.
        items: What it is made of.
        tokens: Words and signs in its tags, from which its size in memory follows.
    """

    mode: str | None
    items: tuple[Item, ...]
    tokens: int
