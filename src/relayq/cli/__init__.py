"""The command line: one module per command (spec operations.md 15). Layer 8.

Start-up must be quick, so this package imports nothing at its front door; ``relayq.cli.main`` holds the group.
"""
