import shlex
import subprocess

import pytest
from click.testing import CliRunner

from curator_assets.cli.main import curate
from curator_assets.control_characters import escaped
from curator_assets.report.page.commands import explain


@pytest.mark.parametrize("image_id", ["a/0001/x", "-x/0/1", "it's/$(rm -rf ~)/é b", "--help"])
def test_a_shell_passes_any_name_on_as_it_is(image_id, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "curator_assets.cli.explain.print_explanation", lambda *given: asked.append(given)
    )
    words = shlex.split(explain(image_id))
    result = CliRunner().invoke(curate, words[1:], prog_name=words[0], catch_exceptions=False)
    assert (result.exit_code, asked) == (0, [(image_id, None)])


@pytest.mark.parametrize("image_id", ["a\nb", "it's\\ \u202e\x7f", "\x1b[2J\u2028"])
def test_what_a_page_can_not_show_reaches_the_command_all_the_same(image_id):
    command = explain(image_id)
    assert escaped(command) == command
    told = f"printf %s {command.removeprefix('curate explain ')}"
    environment = {"LC_ALL": "C.UTF-8"}
    done = subprocess.run(["bash", "-c", told], check=True, stdout=subprocess.PIPE, env=environment)
    assert done.stdout.decode() == image_id
