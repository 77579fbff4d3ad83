"""One supervisor and its workers: what ``relayq run`` is (spec operations.md 20). Layer 6, above ``app``.

``server`` has signals, reloads and the service manager; ``crew`` says what it needs of its workers, which are one in
the same process (``crew.Inline``) or several processes (``fleet``). ``slot`` is the place of one such process,
``worker_process`` what runs in it, ``channel`` and ``messages`` how they talk, ``desk`` the worker's end of what is
shared. Who may open how many connections is decided in ``permits``, who is asked about messages that came back in
``questions``, both without I/O.
"""
