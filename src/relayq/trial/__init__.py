"""Trying relayq without the outside world: a scripted SMTP sink and generated messages. Layer 5."""

from relayq.trial.generate import GeneratedMessage, generate_messages
from relayq.trial.script import EMPTY_SCRIPT, Script, ScriptError, parse_script
from relayq.trial.sink import Sink
from relayq.trial.state import ReceivedMessage, SinkCounters

__all__ = [
    "EMPTY_SCRIPT",
    "GeneratedMessage",
    "ReceivedMessage",
    "Script",
    "ScriptError",
    "Sink",
    "SinkCounters",
    "generate_messages",
    "parse_script",
]
