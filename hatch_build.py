"""Build hook of the wheel: compiles the kernels, if there is a C compiler. hatchling loads this file by its name."""

import importlib.util
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags


class KernelsHook(BuildHookInterface):  # type: ignore[misc]
    """Adds the shared library of `experts.kernels` to the wheel, which is then one for this platform.

    An editable install gets it beside its sources. Without a compiler the wheel is built without kernels, for any
    platform.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        build = _load(Path(self.root) / "experts" / "kernels" / "build.py")
        self.temporary = tempfile.TemporaryDirectory()
        editable = version == "editable"
        target = (build.FOLDER if editable else Path(self.temporary.name)) / build.FILE
        try:
            build.build_library(target)
        except build.BuildFailed as failure:
            self.app.display_warning(f"building without kernels, which are optional: {failure}")
            return
        if editable:
            return
        build_data["force_include"][str(target)] = f"experts/kernels/{build.FILE}"
        platforms = (tag.platform for tag in sys_tags() if "linux_" not in tag.platform or tag.platform[:5] == "linux")
        build_data["pure_python"], build_data["tag"] = False, f"py3-none-{next(platforms)}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self.temporary.cleanup()


def _load(file: Path) -> ModuleType:
    """A module by its path: importing it by its name would import torch, which a build need not have."""
    spec = importlib.util.spec_from_file_location("kernels_build", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
