r"""The script of the SMTP sink: which command of which address gets which answer (spec operations.md 15).

A script is lines ``STEP PATTERN [MODIFIER…] ACTION``; the first line that matches decides, no match means accepted.
Parsing is strict and names every bad line at once. Deciding is a pure function of the script, the counters and a source
of randomness; nothing here knows sockets or the SMTP dialogue.

======================  ================================================================================================
STEP                    ``intro ehlo helo starttls auth mailfrom rcptto data message``
PATTERN                 shell wildcard over the address of the command, without regard to case; ``*`` for all.
                        ``intro``, ``starttls``: the IP of the client; ``ehlo``, ``helo``: the name it gave;
                        ``auth``: the user; ``mailfrom``: the sender, ``<>`` for the null one; from ``rcptto`` on:
                        the (first) recipient
``first=N``             only the first N times per address
``share=P%``            only this share of the times, at random
``slow=S``              S seconds before the answer
``trickle=S``           the answer in single octets, S seconds between two (beyond)
reply                   ``450 4.2.0 later``, ``\n`` between lines; ``421`` also closes
``accept``              as if no line matched (beyond: exceptions in front of a wider line)
``stall``               never an answer; the connection stays open
``drop``, ``reset``     connection closed in order (FIN), or aborted (RST)
``garbage``             octets that are no SMTP reply; another text may follow the word (beyond)
``twice`` reply         the reply two times (beyond)
``unasked`` reply       accepted, and behind that a reply nobody asked for, after ``slow`` seconds (beyond)
======================  ================================================================================================
"""

from __future__ import annotations

import enum
import fnmatch
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

MAX_COUNTED_ADDRESSES: Final = 200_000
"""Addresses ``first=N`` remembers before it forgets the ones not seen for longest: 200,000 take about 30 MB."""
MAX_REPLY_LINE_OCTETS: Final = 510  # RFC 5321 section 4.5.3.1.5: 512 with CRLF
MAX_SCRIPT_LINES: Final = 100_000
MAX_SECONDS: Final = 86_400.0
DEFAULT_GARBAGE: Final = "HTTP/1.1 400 Bad Request"
COMMENT: Final = "#"


class Step(enum.StrEnum):
    """Points of the dialogue at which a script can interfere."""

    INTRO = "intro"
    EHLO = "ehlo"
    HELO = "helo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAILFROM = "mailfrom"
    RCPTTO = "rcptto"
    DATA = "data"
    MESSAGE = "message"


class ActionKind(enum.Enum):
    """What to do instead of, or besides, accepting."""

    ACCEPT = "accept"
    REPLY = "reply"
    TWICE = "twice"
    UNASKED = "unasked"
    STALL = "stall"
    DROP = "drop"
    RESET = "reset"
    GARBAGE = "garbage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One decision.

    Attributes:
        code: Of the reply; 0 where the kind has none.
        status: Enhanced status code of the reply, ``None`` when it has none.
        lines: Text lines of the reply without code and status; of garbage, its one text.
        delay: Seconds before the answer.
        trickle: Seconds between two octets of the answer; ``None`` sends it in one piece.
    """

    kind: ActionKind
    code: int = 0
    status: str | None = None
    lines: tuple[str, ...] = ()
    delay: float = 0.0
    trickle: float | None = None

    @property
    def octets(self) -> bytes:
        """What goes out: the encoded reply or the garbage; empty for every other kind."""
        if self.kind is ActionKind.GARBAGE:
            return self.lines[0].encode() + b"\r\n"
        if not self.code:
            return b""
        texts = [" ".join(filter(None, (self.status, line))) for line in self.lines]
        return "".join([*(f"{self.code}-{text}\r\n" for text in texts[:-1]), f"{self.code} {texts[-1]}\r\n"]).encode()

    def accepts(self, step: Step) -> bool:
        """Whether the command counts as accepted, so that the dialogue goes on from there: 354 for DATA, else 2xx."""
        if self.kind in {ActionKind.ACCEPT, ActionKind.UNASKED}:
            return True
        return self.code == 354 if step is Step.DATA else 200 <= self.code < 300


ACCEPT: Final = Action(kind=ActionKind.ACCEPT)


class RandomSource(Protocol):
    """The part of ``random.Random`` a script needs."""

    def random(self) -> float:
        """Return a number in [0, 1)."""
        ...


class Counters:
    """How often each rule has been used per address: the memory behind ``first=N``, bounded."""

    __slots__ = ("_limit", "_used")

    def __init__(self, limit: int = MAX_COUNTED_ADDRESSES) -> None:
        self._limit = limit
        self._used: OrderedDict[tuple[int, str], int] = OrderedDict()

    def use(self, rule: int, address: str, most: int) -> bool:
        """Count one use of a rule by an address; False, without counting, when ``most`` uses are over."""
        key = (rule, address)
        used = self._used.get(key, 0)
        if used >= most:
            return False
        self._used[key] = used + 1
        self._used.move_to_end(key)
        if len(self._used) > self._limit:
            self._used.popitem(last=False)
        return True

    def __len__(self) -> int:
        """Addresses remembered now."""
        return len(self._used)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of a script.

    Attributes:
        line: Its number, from 1; identifies the rule in the counters.
        matches: Whether an address in lower case fits the pattern; ``None`` fits every address.
        first: Most uses per address, ``None`` without limit.
        share: Probability of being used, ``None`` for always.
    """

    line: int
    step: Step
    matches: Callable[[str], object] | None
    first: int | None
    share: float | None
    action: Action


@dataclass(frozen=True, slots=True)
class Script:
    """Rules by step, each in the order of the file."""

    rules: dict[Step, tuple[Rule, ...]]

    def decide(self, step: Step, address: str, counters: Counters, rng: RandomSource) -> Action:
        """Return the action of the first rule that matches, else :data:`ACCEPT`.

        A rule whose ``first`` is used up, or whose ``share`` does not come up, counts as not matching.
        """
        rules = self.rules.get(step)
        if rules is None:
            return ACCEPT
        address = address.lower()
        for rule in rules:
            if rule.matches is not None and not rule.matches(address):
                continue
            if rule.share is not None and rng.random() >= rule.share:
                continue
            if rule.first is not None and not counters.use(rule.line, address, rule.first):
                continue
            return rule.action
        return ACCEPT


EMPTY_SCRIPT: Final = Script({})


class ScriptError(ValueError):
    """A script with mistakes.

    Attributes:
        problems: One sentence per bad line, each naming its line; not empty.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def parse_script(text: str) -> Script:
    """Parse a script; blank lines and lines that begin with ``#`` are ignored.

    Raises:
        ScriptError: Some lines are wrong; all of them are named.
    """
    rules: dict[Step, list[Rule]] = {}
    problems: list[str] = []
    # Only LF separates: `splitlines` would also split at form feeds and line separators inside a reply.
    lines = text.removeprefix("\ufeff").split("\n")
    if len(lines) > MAX_SCRIPT_LINES:
        raise ScriptError((f"line {MAX_SCRIPT_LINES + 1}: a script has at most {MAX_SCRIPT_LINES} lines",))
    for number, line in enumerate(lines, 1):
        line = line.replace("\t", " ").strip(" \r")
        if not line or line.startswith(COMMENT):
            continue
        try:
            rule = _parse_rule(number, line)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
        else:
            rules.setdefault(rule.step, []).append(rule)
    if problems:
        raise ScriptError(tuple(problems))
    return Script({step: tuple(found) for step, found in rules.items()})


def _parse_rule(number: int, line: str) -> Rule:
    step_word, _, rest = line.partition(" ")
    try:
        step = Step(step_word.lower())
    except ValueError:
        raise ValueError(f"unknown step {step_word!r}; steps are {', '.join(Step)}") from None
    pattern, _, rest = rest.strip().partition(" ")
    if not pattern:
        raise ValueError("a pattern is missing; * matches every address")
    modifiers, rest = _parse_modifiers(rest.strip())
    action = _parse_action(rest, modifiers)
    return Rule(
        line=number,
        step=step,
        matches=None if pattern == "*" else re.compile(fnmatch.translate(pattern.lower())).match,
        first=modifiers.first,
        share=modifiers.share,
        action=action,
    )


@dataclass(slots=True)
class _Modifiers:
    first: int | None = None
    share: float | None = None
    slow: float | None = None
    trickle: float | None = None


_MODIFIER = re.compile(r"([a-z]+)=(\S*)(?:\s+|$)", re.IGNORECASE)


def _parse_modifiers(text: str) -> tuple[_Modifiers, str]:
    """Modifiers in front, and what follows them."""
    modifiers = _Modifiers()
    while match := _MODIFIER.match(text):
        name, value = match[1].lower(), match[2]
        if name not in _Modifiers.__slots__:
            raise ValueError(f"unknown modifier {name!r}; modifiers are {', '.join(_Modifiers.__slots__)}")
        if getattr(modifiers, name) is not None:
            raise ValueError(f"{name} is given twice")
        setattr(modifiers, name, _MODIFIER_PARSERS[name](value))
        text = text[match.end() :]
    return modifiers, text


def _parse_first(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 9 and int(value) > 0):
        raise ValueError(f"first={value} is not a positive number")
    return int(value)


def _parse_share(value: str) -> float:
    share = _parse_number(value.removesuffix("%"))
    if share is None or share > 100:
        raise ValueError(f"share={value} is not a percentage from 0 to 100")
    return share / 100


def _parse_seconds(value: str) -> float:
    seconds = _parse_number(value.removesuffix("s"))
    if seconds is None or seconds > MAX_SECONDS:
        raise ValueError(f"{value!r} is not a number of seconds from 0 to {MAX_SECONDS:g}")
    return seconds


def _parse_number(value: str) -> float | None:
    """Plain decimal number; ``float`` alone would also take ``inf``, ``nan`` and ``1_0``."""
    return float(value) if re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", value) else None


_MODIFIER_PARSERS: Final[dict[str, Callable[[str], float]]] = {
    "first": _parse_first,
    "share": _parse_share,
    "slow": _parse_seconds,
    "trickle": _parse_seconds,
}
_PLAIN_KINDS: Final = {
    kind.value: kind for kind in (ActionKind.ACCEPT, ActionKind.STALL, ActionKind.DROP, ActionKind.RESET)
}
_REPLY = re.compile(r"([2-5][0-9]{2})(?: ([245]\.[0-9]{1,3}\.[0-9]{1,3})(?= |$))?(?: (.*))?", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _parse_action(text: str, modifiers: _Modifiers) -> Action:
    delay, trickle = modifiers.slow or 0.0, modifiers.trickle
    word, _, rest = text.partition(" ")
    kind = _PLAIN_KINDS.get(word.lower())
    if kind is not None:
        if rest.strip():
            raise ValueError(f"unexpected text after {word!r}")
        return Action(kind=kind, delay=delay, trickle=trickle)
    match word.lower():
        case "":
            if modifiers.slow is None and trickle is None:
                raise ValueError("an action is missing")
            return Action(kind=ActionKind.ACCEPT, delay=delay, trickle=trickle)
        case "garbage":
            garbage = _checked_line(rest.strip() or DEFAULT_GARBAGE)
            return Action(kind=ActionKind.GARBAGE, lines=(garbage,), delay=delay, trickle=trickle)
        case "twice":
            return _parse_reply(ActionKind.TWICE, rest.strip(), delay, trickle)
        case "unasked":
            return _parse_reply(ActionKind.UNASKED, rest.strip(), delay, trickle)
        case _:
            return _parse_reply(ActionKind.REPLY, text, delay, trickle)


def _parse_reply(kind: ActionKind, text: str, delay: float, trickle: float | None) -> Action:
    match = _REPLY.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is no action: a reply such as '450 4.2.0 later', or accept, stall, drop, reset, garbage, "
            "twice REPLY, unasked REPLY"
        )
    lines = tuple(_checked_line(line) for line in (match[3] or "").split(r"\n"))
    return Action(kind=kind, code=int(match[1]), status=match[2], lines=lines, delay=delay, trickle=trickle)


def _checked_line(line: str) -> str:
    if _CONTROL.search(line):
        raise ValueError("control character in a reply")
    # 16 octets stand for the code, its separator and the longest enhanced status.
    if len(line.encode()) > MAX_REPLY_LINE_OCTETS - 16:
        raise ValueError(f"a line of a reply has at most {MAX_REPLY_LINE_OCTETS - 16} octets")
    return line
