"""Packages that only some need, and the extra that brings each."""

from importlib.util import find_spec

from curator_assets.errors import UserError


class NotInstalledError(UserError):
    """A package that is needed is not installed."""


def require_installed(module: str, extra: str) -> None:
    """Refuse to begin what would fail later for want of a package.

    Raises:
        NotInstalledError: it is not installed; says which command installs it.
    """
    if find_spec(module) is None:
        raise NotInstalledError(
            f"the package {module!r} is not installed; it comes with pip install "
            f"'curator-assets[{extra}]'"
        )
