"""Event-driven cache invalidation."""

__version__ = "0.1.0"
