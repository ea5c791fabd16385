"""make chaos: see tests/stages/chaos.py, which is a module of its own so that the processes it starts can import it."""

import sys

from tests.stages.chaos import main

if __name__ == "__main__":
    sys.exit(main())
