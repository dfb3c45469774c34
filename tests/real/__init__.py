"""The daemon behind software that nobody here wrote: `make test-real`."""
