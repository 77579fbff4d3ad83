"""Ports made real, one technology per package. Layer 4."""
