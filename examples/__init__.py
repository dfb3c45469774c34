"""Small apps that use the read side: docs/read-side.md."""
