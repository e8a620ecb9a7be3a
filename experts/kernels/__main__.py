"""`python -m experts.kernels`: builds the kernels of a checkout beside their sources."""

import sys

from experts.kernels.build import FILE, FOLDER, BuildFailed, build_library

if __name__ == "__main__":
    try:
        build_library(FOLDER / FILE)
    except BuildFailed as failure:
        sys.exit(f"kernels were not built: {failure}")
    print(f"built {FOLDER / FILE}")
