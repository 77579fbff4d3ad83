"""An outbound mail transfer agent that lives on a message queue."""

__version__ = "0.1.0"
