"""`python -m invalidator`."""

import sys

from invalidator.cli import main

sys.exit(main())
