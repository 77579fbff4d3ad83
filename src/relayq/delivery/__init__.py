"""The engine: from a consumed message to its published outcome. Layer 4."""
