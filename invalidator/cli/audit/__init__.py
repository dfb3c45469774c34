"""What is wrong in a Redis that holds caches: looked at slowly, changed never."""
