"""What the distribution carries: the program, and the trees beside it that it needs when it is installed.

Everything else about the project is stated in pyproject.toml. Three trees live at the root, where people look for
them, and are installed inside the package, where the program finds them (`orchestrator.resources`). Every directory
that holds files counts as a package here, so that revision files, samples and presets travel without a list to keep.
"""

from pathlib import Path

from setuptools import find_namespace_packages, setup

ROOT = Path(__file__).resolve().parent

TREES = {
    "orchestrator._migrations": "migrations",
    "orchestrator._examples": "examples",
    "orchestrator._etc": "etc",
}


def directories(package: str, directory: str) -> dict[str, str]:
    """Package name to path, for `directory` and all directories below it."""
    below = find_namespace_packages(directory, exclude=["*__pycache__*"])
    return {package: directory} | {f"{package}.{name}": f"{directory}/{name.replace('.', '/')}" for name in below}


package_dir = directories("orchestrator", "orchestrator")
for package, directory in TREES.items():
    package_dir |= directories(package, directory)

setup(packages=sorted(package_dir), package_dir=package_dir, package_data={"": ["*"]})
