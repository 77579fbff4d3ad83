"""Helpers shared by tests, benchmarks and scripts; nothing in here is collected as a test."""
