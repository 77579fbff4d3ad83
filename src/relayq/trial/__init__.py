"""Trying relayq without the outside world: a scripted SMTP sink and generated messages. Layer 5."""
