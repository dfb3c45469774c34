"""The part of the harness that runs inside a daemon."""
