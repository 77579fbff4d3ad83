"""Questions to the other workers about messages that were handed out before."""

from __future__ import annotations

import pytest

from relayq.supervisor.messages import Asked, Question, Told, Verdict
from relayq.supervisor.questions import ANSWER_SECONDS, Questions

KEY = b"k" * 32
QUESTION = Question(7, KEY, True)
KNOWN, UNKNOWN = (1, Told(7, True)), (1, Told(7, False))


@pytest.fixture
def questions() -> Questions:
    return Questions()


def ask(questions: Questions) -> int:
    """Worker 1 asks; the number under which 2 and 3 are asked."""
    orders = questions.ask(1, QUESTION, [1, 2, 3], 0.0)
    assert [worker for worker, _ in orders] == [2, 3]
    asked = orders[0][1]
    assert isinstance(asked, Asked)
    assert (asked.key, asked.is_unique) == (KEY, True)
    return asked.number


def test_who_is_alone_is_told_at_once(questions: Questions) -> None:
    assert questions.ask(1, QUESTION, [1], 0.0) == [UNKNOWN]
    assert len(questions) == 0


def test_nobody_knows_when_everybody_said_so(questions: Questions) -> None:
    number = ask(questions)
    assert questions.answer(2, number, Verdict.UNKNOWN) == []
    assert questions.answer(3, number, Verdict.UNKNOWN) == [UNKNOWN]


def test_one_that_knows_is_enough(questions: Questions) -> None:
    number = ask(questions)
    assert questions.answer(3, number, Verdict.KNOWN) == [KNOWN]
    assert questions.answer(2, number, Verdict.UNKNOWN) == []  # too late to matter


def test_a_worker_that_is_sending_it_is_waited_for(questions: Questions) -> None:
    number = ask(questions)
    questions.answer(2, number, Verdict.WAIT)
    questions.answer(3, number, Verdict.UNKNOWN)
    assert questions.expire(ANSWER_SECONDS * 100) == []
    assert questions.answer(2, number, Verdict.KNOWN) == [KNOWN]


def test_what_was_not_sent_after_all_is_not_known(questions: Questions) -> None:
    number = ask(questions)
    questions.answer(3, number, Verdict.UNKNOWN)
    questions.answer(2, number, Verdict.WAIT)
    assert questions.answer(2, number, Verdict.UNKNOWN) == [UNKNOWN]


def test_silence_is_no_knowledge(questions: Questions) -> None:
    number = ask(questions)
    questions.answer(2, number, Verdict.UNKNOWN)
    assert questions.expire(ANSWER_SECONDS - 0.1) == []
    assert questions.expire(ANSWER_SECONDS) == [UNKNOWN]


def test_the_dead_know_nothing_and_want_to_know_nothing(questions: Questions) -> None:
    number = ask(questions)
    questions.answer(2, number, Verdict.WAIT)
    questions.answer(3, number, Verdict.UNKNOWN)
    assert questions.drop(2) == [UNKNOWN]
    ask(questions)
    assert questions.drop(1) == []
    assert len(questions) == 0
