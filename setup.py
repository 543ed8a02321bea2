"""Build step: an installed hdiff holds the commit it was built from. All else is in pyproject.toml."""

import runpy
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

PROVENANCE = runpy.run_path(str(Path(__file__).with_name("hdiff") / "runs" / "provenance.py"))


def write_commit(root: str) -> None:
    """Writes the commit, if it is known, where `hdiff.runs.provenance` looks for it."""
    commit = PROVENANCE["commit"]()
    if commit is not None:
        file = Path(root) / "hdiff" / PROVENANCE["COMMIT_FILE"]
        file.unlink(missing_ok=True)  # may be a hard link into the source
        file.write_text(commit + "\n", encoding="ascii")


class BuildModules(build_py):
    """Builds a wheel; what an earlier build left, perhaps of modules that are gone, is removed."""

    def run(self) -> None:
        """Copies the modules and notes the commit; an editable installation asks git instead."""
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib) / "hdiff", ignore_errors=True)
        super().run()
        if not self.editable_mode:
            write_commit(self.build_lib)


class SourceArchive(sdist):
    """Builds a source archive, from which wheels know the commit too."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Copies the files and notes the commit."""
        super().make_release_tree(base_dir, files)
        write_commit(base_dir)


setup(cmdclass={"build_py": BuildModules, "sdist": SourceArchive})
