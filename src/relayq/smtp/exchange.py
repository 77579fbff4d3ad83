"""The queue of unanswered commands: octets and replies on one side, moves of the dialogue on the other.

Everything that holds in every place of a session is here: matching replies to commands, what is blamed when the peer
leaves or talks nonsense, and what is owed to a mail at that moment. What a reply means is the table in ``states``.
"""

from __future__ import annotations

from collections import deque

from relayq.model import DeliveryState, Reply, ResultType
from relayq.smtp import commands
from relayq.smtp.errors import RemoteProtocolError
from relayq.smtp.events import Broken, Closed, Event, Ready
from relayq.smtp.replies import ReplyParser
from relayq.smtp.states import RESTING_STATES, TABLE, Phase, Row, Step

_GREETING = TABLE[Step.GREETING]
_QUIT = TABLE[Step.QUIT]
_READY = Ready()
_MAILFROM = DeliveryState.MAILFROM
_PHASE_READY = Phase.READY
_ENDED = (Phase.OVER, Phase.REFUSED)


class Exchange:
    """One session as a queue; the moves are methods of its subclasses."""

    def __init__(self) -> None:
        self._phase = Phase.DIALOGUE
        self._parser = ReplyParser()
        self._awaiting: deque[Row] = deque((_GREETING,))
        self._out: list[bytes] = []
        self._events: deque[Event] = deque()

    @property
    def state(self) -> DeliveryState:
        """State of the first unanswered command; ``storage`` while content is due, ``mailfrom`` when idle."""
        if self._awaiting:
            return self._awaiting[0].state
        return RESTING_STATES.get(self._phase, _MAILFROM)

    @property
    def is_ready(self) -> bool:
        """Whether a transaction may begin."""
        return self._phase is _PHASE_READY

    @property
    def is_over(self) -> bool:
        """Whether the connection has to be closed: nothing is understood any more."""
        return self._phase in _ENDED

    def receive_data(self, octets: bytes) -> None:
        """Take what arrived; ``b""`` when the peer has closed its side. Never raises for what a peer does."""
        if self.is_over:
            return
        if not octets:
            self._give_up(self.state, ResultType.LOST)
            return
        parser = self._parser
        parser.feed(octets)
        try:
            while (reply := parser.next_reply()) is not None:
                if not self._take_reply(reply):
                    return
        except RemoteProtocolError as error:
            self._give_up(self.state, ResultType.INVALID, received=error.received)
            return
        if not self._awaiting and parser.has_pending and self._phase is not Phase.CONTENT_DUE:
            self._give_up(self.state, ResultType.INVALID, received=parser.pending)

    def data_to_send(self) -> bytes:
        """Octets to write now, in one write; empty when there are none. Handed out once."""
        out = self._out
        if not out:
            return b""
        octets = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return octets

    def pieces_to_send(self) -> list[bytes]:
        """The same in pieces, of which there is more than one only where joining them would copy large content."""
        out = self._out
        self._out = []
        return out

    def next_event(self) -> Event | None:
        """The next thing that happened, oldest first; ``None`` when more has to be received."""
        return self._events.popleft() if self._events else None

    def quit(self) -> None:
        """Say goodbye if the session is in a place for it, else just end: nothing more is reported then."""
        if self._phase is _PHASE_READY or self._phase is Phase.REFUSED:
            self._phase = Phase.LEAVING
            self._send(_QUIT, commands.QUIT)
        elif self._phase is not Phase.LEAVING:
            self._end(Phase.OVER)

    def _take_reply(self, reply: Reply) -> bool:
        """Match a reply to the first unanswered command; false when nothing after it matters."""
        awaiting = self._awaiting
        if not awaiting:
            self._give_up(self.state, ResultType.INVALID, reply=reply)
        elif self._out and reply.code < 400:
            # Agreement to what has not been written yet is no answer: believed, it could pass for acceptance of a mail.
            self._give_up(awaiting[0].state, ResultType.INVALID, reply=reply)
        else:
            row = awaiting.popleft()
            getattr(self, row.moves[reply.code // 100 - 2])(row, reply)
        return self._phase not in _ENDED

    def _break_off(self, row: Row, reply: Reply) -> None:
        self._give_up(row.state, ResultType.INVALID, reply=reply)

    def _give_up(
        self, state: DeliveryState, result: ResultType, *, received: bytes | None = None, reply: Reply | None = None
    ) -> None:
        """End a dialogue that cannot go on; blamed on a mail only if one is waiting for its outcome."""
        if self._phase is _PHASE_READY:
            # Any octet ends an idle session: there is no waiting for the rest of a reply nobody needs.
            event: Event = Closed()
        elif self._phase is Phase.AFTERMATH or self._phase is Phase.LEAVING:
            event = Closed(reply)
        else:
            event = Broken(state, result, received, reply)
        self._end(Phase.OVER, event)

    def _end(self, phase: Phase, event: Event | None = None) -> None:
        self._phase = phase
        self._awaiting.clear()
        self._out.clear()
        if event is not None:
            self._events.append(event)

    def _send(self, row: Row, octets: bytes) -> None:
        self._awaiting.append(row)
        self._out.append(octets)

    def _be_ready(self, row: Row, reply: Reply) -> None:
        self._become_ready()

    def _become_ready(self) -> None:
        self._phase = _PHASE_READY
        self._events.append(_READY)

    def _leave(self, row: Row, reply: Reply) -> None:
        self._end(Phase.OVER, Closed(reply))
