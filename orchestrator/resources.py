"""Where the files that travel with the program are: its migrations, examples, sample configuration.

In a checkout they stand at its root; an installed distribution carries them inside the package. Each function
answers for both, and raises FileNotFoundError where an installation is incomplete. Standard library only.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent


def state_migrations_directory() -> Path:
    """The migration tree of the orchestrator's own state database, with its `releases.toml`."""
    return _tree("migrations")


def bookkeeping_migrations_directory() -> Path:
    """The migration tree of the orchestrator's own tables inside each managed database."""
    return _existing(_PACKAGE / "bookkeeping" / "migrations")


def examples_directory() -> Path:
    """The example services; `inventory` is the one that the demo upgrades."""
    return _tree("examples")


def sample_configuration() -> Path:
    """The commented configuration file with every option and its default."""
    return _existing(_tree("etc") / "orchestrator" / "orchestrator.conf.sample")


def _tree(name: str) -> Path:
    installed = _PACKAGE / f"_{name}"
    return installed if installed.is_dir() else _existing(_CHECKOUT / name)


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: install upgrade-orchestrator again")
    return path
