"""Questions to the other workers about messages that were handed out before."""

from __future__ import annotations

import pytest

from relayq.delivery.ledger import Knowledge
from relayq.supervisor.messages import Asked, Question, Told
from relayq.supervisor.questions import ANSWER_SECONDS, Questions

KEY = b"k" * 32
QUESTION = Question(7, KEY, is_unique=True, is_owed=False)
KNOWN, UNKNOWN = (1, Told(7, Knowledge.KNOWN)), (1, Told(7, Knowledge.UNKNOWN))


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
    assert questions.answer(2, number, Knowledge.UNKNOWN) == []
    assert questions.answer(3, number, Knowledge.UNKNOWN) == [UNKNOWN]


def test_one_that_knows_is_enough(questions: Questions) -> None:
    number = ask(questions)
    assert questions.answer(3, number, Knowledge.KNOWN) == [KNOWN]
    assert questions.answer(2, number, Knowledge.UNKNOWN) == []  # too late to matter


def test_a_worker_that_is_sending_it_is_waited_for(questions: Questions) -> None:
    number = ask(questions)
    questions.answer(2, number, Knowledge.WAIT)
    questions.answer(3, number, Knowledge.UNKNOWN)
    assert questions.expire(ANSWER_SECONDS * 100) == []
    assert questions.answer(2, number, Knowledge.KNOWN) == [KNOWN]


def test_what_was_not_sent_after_all_is_not_known(questions: Questions) -> None:
    number = ask(questions)
    questions.answer(3, number, Knowledge.UNKNOWN)
    questions.answer(2, number, Knowledge.WAIT)
    assert questions.answer(2, number, Knowledge.UNKNOWN) == [UNKNOWN]


def test_silence_is_no_knowledge(questions: Questions) -> None:
    number = ask(questions)
    questions.answer(2, number, Knowledge.UNKNOWN)
    assert questions.expire(ANSWER_SECONDS - 0.1) == []
    assert questions.expire(ANSWER_SECONDS) == [UNKNOWN]


def test_the_dead_know_nothing_and_want_to_know_nothing(questions: Questions) -> None:
    number = ask(questions)
    questions.answer(2, number, Knowledge.WAIT)
    questions.answer(3, number, Knowledge.UNKNOWN)
    assert questions.drop(2) == [UNKNOWN]
    ask(questions)
    assert questions.drop(1) == []
    assert len(questions) == 0


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ((Knowledge.PERHAPS, Knowledge.OWED), Knowledge.OWED),
        ((Knowledge.OWED, Knowledge.PERHAPS), Knowledge.OWED),
        ((Knowledge.PERHAPS, Knowledge.UNKNOWN), Knowledge.PERHAPS),
        ((Knowledge.PERHAPS, Knowledge.TWIN), Knowledge.DOUBT),
        ((Knowledge.TWIN, Knowledge.PERHAPS), Knowledge.DOUBT),
        ((Knowledge.UNKNOWN, Knowledge.TWIN), Knowledge.TWIN),
        ((Knowledge.OWED, Knowledge.KNOWN), Knowledge.KNOWN),
    ],
)
def test_what_is_certain_weighs_more(
    questions: Questions, answers: tuple[Knowledge, Knowledge], told: Knowledge
) -> None:
    number = ask(questions)
    assert questions.answer(2, number, answers[0]) == []
    assert questions.answer(3, number, answers[1]) == [(1, Told(7, told))]
