"""One suite for the readers of all languages: vectors, and random schedules of mixed clients."""
