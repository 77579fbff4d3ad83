"""Octets that nobody sane would send: targets for a coverage-guided fuzzer, their corpus, and the command."""
