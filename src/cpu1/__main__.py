"""`python -m cpu1`."""

import sys

from cpu1.cli import main

sys.exit(main())
