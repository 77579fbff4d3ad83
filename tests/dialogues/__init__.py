"""SMTP dialogues as transcripts: the format and its runner are in ``transcript``, the dialogues in ``*.smtp``."""
