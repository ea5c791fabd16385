"""`python -m winnow`."""

import sys

if not sys.flags.safe_path:  # the present folder heads the path: last, its random.py hides no module of Python's
    sys.path.append(sys.path.pop(0))

from winnow.cli.main import main

main()
