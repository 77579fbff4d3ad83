"""The language of sink scripts and its decisions."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayq.trial.script import (
    ACCEPT,
    EMPTY_SCRIPT,
    MAX_SCRIPT_LINES,
    Action,
    ActionKind,
    Counters,
    ScriptError,
    Step,
    parse_script,
)

EXAMPLES = Path(__file__).parents[3] / "examples"


def decide(text: str, step: str, address: str) -> Action:
    return parse_script(text).decide(Step(step), address, Counters(), random.Random(1))


def test_no_match_means_accepted() -> None:
    assert EMPTY_SCRIPT.decide(Step.RCPTTO, "a@b.test", Counters(), random.Random(1)) is ACCEPT
    assert decide("rcptto *@c.test 550 no", "rcptto", "a@b.test") is ACCEPT
    assert decide("mailfrom * 550 no", "rcptto", "a@b.test") is ACCEPT


def test_first_match_wins() -> None:
    script = "rcptto anna@* accept\nrcptto *@b.test 550 no\nrcptto * 450 later"
    assert decide(script, "rcptto", "anna@b.test").kind is ActionKind.ACCEPT
    assert decide(script, "rcptto", "carl@b.test").code == 550
    assert decide(script, "rcptto", "carl@d.test").code == 450


@pytest.mark.parametrize("pattern", ["a*@B.test", "a?na@b.test", "[ab]nna@b.test", "*", "anna@b.test"])
def test_patterns_are_wildcards_without_regard_to_case(pattern: str) -> None:
    assert decide(f"rcptto {pattern} drop", "rcptto", "Anna@b.TEST").kind is ActionKind.DROP


def test_pattern_covers_the_whole_address() -> None:
    assert decide("rcptto anna drop", "rcptto", "anna@b.test") is ACCEPT


@pytest.mark.parametrize(
    ("action", "octets"),
    [
        ("450 4.2.0 later", b"450 4.2.0 later\r\n"),
        ("550", b"550 \r\n"),
        ("550 5.1.1", b"550 5.1.1\r\n"),
        ("250 4.2 is text", b"250 4.2 is text\r\n"),
        (r"550 5.1.1 no\nsuch user\nhere", b"550-5.1.1 no\r\n550-5.1.1 such user\r\n550 5.1.1 here\r\n"),
        (r"220 mx.test\nSIZE 10", b"220-mx.test\r\n220 SIZE 10\r\n"),
        ("550 Grüße", "550 Grüße\r\n".encode()),
        ("garbage", b"HTTP/1.1 400 Bad Request\r\n"),
        ("garbage 25O OK", b"25O OK\r\n"),
        ("twice 250 2.0.0 ok", b"250 2.0.0 ok\r\n"),
        ("stall", b""),
    ],
)
def test_octets_of_an_action(action: str, octets: bytes) -> None:
    assert decide(f"message * {action}", "message", "x@y.test").octets == octets


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("stall", ActionKind.STALL),
        ("drop", ActionKind.DROP),
        ("RESET", ActionKind.RESET),
        ("accept", ActionKind.ACCEPT),
        ("slow=2", ActionKind.ACCEPT),
        ("unasked 421 4.4.2 bye", ActionKind.UNASKED),
        ("twice 250 ok", ActionKind.TWICE),
    ],
)
def test_kinds_of_action(text: str, kind: ActionKind) -> None:
    assert decide(f"ehlo * {text}", "ehlo", "client.test").kind is kind


def test_first_counts_per_address_and_then_goes_on_to_the_next_line() -> None:
    script = parse_script("rcptto * first=2 450 later\nrcptto * 250 now\n")
    counters, rng = Counters(), random.Random(1)
    codes = [script.decide(Step.RCPTTO, "a@b.test", counters, rng).code for _ in range(4)]
    assert codes == [450, 450, 250, 250]
    assert script.decide(Step.RCPTTO, "c@b.test", counters, rng).code == 450


def test_counters_forget_the_address_not_seen_for_longest() -> None:
    script = parse_script("rcptto * first=1 450 later")
    counters, rng = Counters(limit=2), random.Random(1)
    for name in ("a", "b", "c"):
        assert script.decide(Step.RCPTTO, name, counters, rng).code == 450
    assert len(counters) == 2
    assert script.decide(Step.RCPTTO, "c", counters, rng) is ACCEPT
    assert script.decide(Step.RCPTTO, "a", counters, rng).code == 450


def test_share_is_a_probability() -> None:
    script = parse_script("rcptto * share=25% 450 later")
    rng = random.Random(4)
    hits = sum(script.decide(Step.RCPTTO, "a@b.test", Counters(), rng).code == 450 for _ in range(2000))
    assert 430 < hits < 570
    assert decide("rcptto * share=0% 450 later", "rcptto", "a") is ACCEPT
    assert decide("rcptto * share=100% 450 later", "rcptto", "a").code == 450


def test_an_unlucky_share_leaves_first_uncounted() -> None:
    script = parse_script("rcptto * first=1 share=0% 450 later")
    counters = Counters()
    script.decide(Step.RCPTTO, "a", counters, random.Random(1))
    assert len(counters) == 0


def test_delays() -> None:
    action = decide("data * slow=1.5s trickle=0.01 354 go", "data", "a")
    assert (action.delay, action.trickle) == (1.5, 0.01)
    assert decide("data * stall", "data", "a").trickle is None


@pytest.mark.parametrize(
    ("step", "text", "accepted"),
    [
        ("rcptto", "250 ok", True),
        ("rcptto", "354 what", False),
        ("rcptto", "550 no", False),
        ("data", "354 go", True),
        ("data", "250 what", False),
        ("message", "twice 250 ok", True),
        ("message", "unasked 421 bye", True),
        ("message", "garbage", False),
        ("message", "accept", True),
    ],
)
def test_what_counts_as_accepted(step: str, text: str, accepted: bool) -> None:
    assert decide(f"{step} * {text}", step, "a").accepts(Step(step)) is accepted


def test_comments_blank_lines_tabs_and_line_ends() -> None:
    script = parse_script("\ufeff# a comment\r\n\r\n   \t\n\trcptto\t*\tfirst=1\t450 later\r\n")
    assert script.decide(Step.RCPTTO, "a", Counters(), random.Random(1)).octets == b"450 later\r\n"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("rctpto * drop", "unknown step 'rctpto'"),
        ("rcptto", "a pattern is missing"),
        ("rcptto *", "an action is missing"),
        ("rcptto * first=1", "an action is missing"),
        ("rcptto * first=0 drop", "first=0 is not a positive number"),
        ("rcptto * first=x drop", "first=x is not"),
        ("rcptto * first=1 first=2 drop", "first is given twice"),
        ("rcptto * share=101% drop", "share=101% is not a percentage"),
        ("rcptto * share=nan% drop", "share=nan% is not a percentage"),
        ("rcptto * slow=-1 drop", "not a number of seconds"),
        ("rcptto * slow=1e9 drop", "not a number of seconds"),
        ("rcptto * speed=1 drop", "unknown modifier 'speed'"),
        ("rcptto * explode", "'explode' is no action"),
        ("rcptto * 199 too low", "is no action"),
        ("rcptto * 600 too high", "is no action"),
        ("rcptto * 45 short", "is no action"),
        ("rcptto * twice drop", "is no action"),
        ("rcptto * drop now", "unexpected text after 'drop'"),
        ("rcptto * 550 a\x07b", "control character"),
        ("rcptto * 550 " + "x" * 600, "at most 494 octets"),
        ("rcptto * 550 \udc80", "surrogates"),
    ],
)
def test_errors_name_line_and_mistake(line: str, complaint: str) -> None:
    with pytest.raises(ScriptError) as caught:
        parse_script(f"# fine\nrcptto * accept\n{line}\n")
    (problem,) = caught.value.problems
    assert problem.startswith("line 3: ")
    assert complaint in problem


def test_all_errors_are_told_at_once() -> None:
    with pytest.raises(ScriptError) as caught:
        parse_script("x * drop\nrcptto * drop\ny * drop")
    assert [problem[:6] for problem in caught.value.problems] == ["line 1", "line 3"]


def test_length_is_bounded() -> None:
    with pytest.raises(ScriptError, match="at most"):
        parse_script("\n" * MAX_SCRIPT_LINES)


@given(st.text(max_size=80))
def test_any_text_is_a_script_or_a_script_error(text: str) -> None:
    try:
        script = parse_script(f"rcptto * {text}")
    except ScriptError:
        return
    for octets in (script.decide(Step.RCPTTO, "a", Counters(), random.Random(1)).octets,):
        assert octets.count(b"\n") == octets.count(b"\r\n") == octets.count(b"\r")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.sink")), ids=lambda path: path.name)
def test_examples_are_scripts(path: Path) -> None:
    assert parse_script(path.read_text(encoding="utf-8")).rules
