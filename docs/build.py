"""Builds the API reference into a folder: the pages of pdoc, with the README as the first one."""

import shutil
import sys
import warnings
from pathlib import Path

import pdoc

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("badger", "experts", "comms", "tasks")


def main(site: Path) -> None:
    """Writes index.html, a page for each module, and the files that the README links to."""
    sys.path.insert(0, str(ROOT))  # this checkout is documented, whichever is installed
    modules = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in PACKAGES
        for file in sorted((ROOT / package).rglob("*.py"))
        if not file.stem.startswith("_") or file.stem == "__init__"
    ]
    # pdoc finds the modules of packages without `__all__` by itself, and then sees them twice
    warnings.filterwarnings("ignore", "The module specification .* adds a module named")
    shutil.rmtree(site, ignore_errors=True)
    pdoc.render.configure(docformat="google", template_directory=ROOT / "docs")
    pdoc.render.env.globals["readme"] = (ROOT / "README.md").read_text(encoding="utf-8")
    pdoc.pdoc(*modules, output_directory=site)
    for file in ROOT.glob("*.md"):
        shutil.copy(file, site)
    shutil.copytree(ROOT / "notebooks", site / "notebooks", ignore=shutil.ignore_patterns("*.py", "runs", ".*"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
