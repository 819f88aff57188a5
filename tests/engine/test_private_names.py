"""Dagster's private names are all in one module, and each still means what it meant."""

import ast
from pathlib import Path

import curator_assets
from curator_assets.engine.dagster import private_names

PACKAGE = Path(curator_assets.__file__).parent
EXPECTED = {
    "BACKFILL_ID_TAG": "dagster/backfill",
    "CODE_VERSION_TAG": "dagster/code_version",
    "DATA_VERSION_TAG": "dagster/data_version",
    "DATA_VERSION_IS_USER_PROVIDED_TAG": "dagster/data_version_is_user_provided",
    "EVENTS_ARE_LOGGED": "__source_asset_observation__",
}


def test_each_name_is_there_and_says_what_it_said():
    found = {name: getattr(private_names, name) for name in private_names.__all__}
    assert {name: found[name] for name in EXPECTED} == EXPECTED
    others = found.keys() - EXPECTED.keys()
    assert all(found[name] is not None for name in others)


def test_no_other_module_imports_a_private_name_of_dagster():
    importers = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if any(name.startswith("dagster._") for name in names):
                importers.add(path.relative_to(PACKAGE).as_posix())
    assert importers == {"engine/dagster/private_names.py"}
