"""Folders that can't be listed."""

import os

import pytest


def hide(monkeypatch: pytest.MonkeyPatch, folder: str, number: int) -> None:
    """Listing a folder whose path ends so fails with this error number."""
    real = os.scandir

    def scandir(path):
        if str(path).endswith(folder):
            raise OSError(number, os.strerror(number), str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
