"""Sabotages of the daemon, each of which a row of the fault harness must notice."""
