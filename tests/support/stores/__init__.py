"""Servers that keep bodies, started privately on loopback for one test session."""
