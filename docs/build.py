"""Builds the API reference into a folder: the pages of pdoc, with README.md as the first one."""

import shutil
import sys
import types
import warnings
from pathlib import Path

import pdoc

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("badger", "experts", "comms", "tasks")


def main(site: Path) -> None:
    """Writes index.html, a page for each module, and the files that README.md links to."""
    sys.path.insert(0, str(ROOT))  # this checkout is documented, whichever is installed
    names = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in PACKAGES
        for file in sorted((ROOT / package).rglob("*.py"))
        if not file.stem.startswith("_") or file.stem == "__init__"
    ]
    shutil.rmtree(site, ignore_errors=True)
    # pdoc finds the modules of packages without `__all__` by itself, and then sees them twice
    warnings.filterwarnings("ignore", "The module specification .* adds a module named")
    pdoc.render.configure(docformat="google")
    pdoc.pdoc(*names, output_directory=site)
    listed = "\n".join(f"- `{name}`" for name in sorted(names))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    first = types.ModuleType("badger-agents", f"{readme}\n## Modules\n\n{listed}\n")
    modules = {name: pdoc.doc.Module.from_name(name) for name in names}
    (site / "index.html").write_text(pdoc.render.html_module(pdoc.doc.Module(first), modules), encoding="utf-8")
    for file in ROOT.glob("*.md"):
        shutil.copy(file, site)
    shutil.copytree(ROOT / "notebooks", site / "notebooks", ignore=shutil.ignore_patterns("*.py", "runs", ".*"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
