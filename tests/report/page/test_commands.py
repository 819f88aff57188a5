import shlex

import pytest
from click.testing import CliRunner

from curator_assets.cli.main import curate
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
