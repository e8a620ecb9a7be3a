"""python -m badger: the command line of `badger.cli.main`."""

import sys

from badger.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
