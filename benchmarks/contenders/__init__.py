"""What a team would run instead, each as its author would write it."""
