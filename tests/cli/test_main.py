import subprocess
import sys
from pathlib import Path

import pytest
from cli.conftest import assert_one_paragraph

from curator_assets.cli.main import curate

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", [[], *([name] for name in curate.commands)])
def test_help_imports_nothing_heavy(command):
    script = (
        "import sys; from curator_assets.cli.main import curate\n"
        "try: curate(sys.argv[1:], prog_name='curate')\n"
        "except SystemExit: print([m for m in ('torch', 'dagster', 'polars') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("Usage: curate")
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "curator_assets", "plan", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: python -m curator_assets plan")


@pytest.mark.parametrize("name", curate.commands)
def test_every_command_and_option_is_documented(name):
    text = (ROOT / "docs" / "commands.md").read_text()
    assert f"## `curate {name}" in text
    section = text.partition(f"## `curate {name}")[2].partition("\n## ")[0]
    for parameter in curate.commands[name].params:
        if parameter.name != "debug" and parameter.opts[0].startswith("-"):
            assert f"`{parameter.opts[0]}" in section, parameter.opts


def test_a_wrong_word_is_one_paragraph(run):
    assert_one_paragraph(run("refesh"), 2, "no command 'refesh'; did you mean 'refresh'")
    assert_one_paragraph(run("refresh", "--forc"), 2, "--force", "curate refresh --help")
    assert_one_paragraph(run("ui", "--port", "70000"), 2, "--port", "curate ui --help")
    assert_one_paragraph(run("explain"), 2, "missing argument", "curate explain --help")
    assert_one_paragraph(run("pack", "nowhere"), 2, "nowhere", "curate pack --help")


def test_a_fault_is_one_paragraph_and_a_traceback_on_request(run, monkeypatch):
    def broken(**_):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("curator_assets.cli.plan.show_plan", broken)
    result = run("plan")
    assert result.exit_code == 70
    assert result.stderr == (
        "error: ZeroDivisionError: by zero; this is a fault of curate: `--debug` shows where, "
        "please report it\n"
    )
    assert "in broken" in run("plan", "--debug").stderr
