"""What the harness does inside a daemon."""
