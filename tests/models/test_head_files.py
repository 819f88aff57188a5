import shutil
import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest

from curator_assets.models.hashes import Hashes
from curator_assets.models.head_files import HeadUnavailableError, head_file, kept_head
from curator_assets.models.known_heads import KNOWN_HEADS

LINEAR = "aesthetic_linear_vit_l_14"
UNPINNED = "nsfw_vit_b_32"
OFFERED = {
    "aesthetic_linear_vit_l_14": "aesthetic_sa_0_4_vit_l_14_linear.pth",
    "aesthetic_linear_vit_b_32": "aesthetic_sa_0_4_vit_b_32_linear.pth",
    "aesthetic_mlp_vit_l_14": "aesthetic_sac+logos+ava1-l14-linearMSE.pth",
    "nsfw_vit_l_14": "nsfw_clip_ViT-L-14_openai_binary_head.pth",
    "nsfw_vit_b_32": "nsfw_clip_ViT-B-32_openai_binary_head.pth",
}


class Home:
    """The heads' public homes: what they give, and what was asked of them."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}
        self.asked: list[str] = []

    def urlretrieve(self, url: str, target: Path) -> tuple[str, None]:
        self.asked.append(url)
        if url not in self.files:
            Path(target).write_bytes(b"half")
            raise URLError("no route to host")
        shutil.copy(self.files[url], target)
        return str(target), None


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    home = Home()
    monkeypatch.setattr(urllib.request, "urlretrieve", home.urlretrieve)
    return home


@pytest.mark.parametrize("name", OFFERED)
def test_a_public_head_is_fetched_once_and_is_the_one_known(home, shared_data, name):
    home.files[KNOWN_HEADS[name].url] = shared_data / "heads" / OFFERED[name]
    path = head_file("score", "fetch", name)
    assert head_file("score", "fetch", name) == path == kept_head(name)
    assert home.asked == [KNOWN_HEADS[name].url]
    assert [path] == list(path.parent.iterdir())
    if pinned := KNOWN_HEADS[name].sha256:
        assert Hashes().of(path) == f"sha256:{pinned}"


def test_another_file_than_the_known_one_is_refused_and_not_kept(home, tmp_path):
    (tmp_path / "page.html").write_text("moved")
    home.files[KNOWN_HEADS[LINEAR].url] = tmp_path / "page.html"
    with pytest.raises(HeadUnavailableError) as error:
        head_file("beauty", "fetch", LINEAR)
    for part in (
        KNOWN_HEADS[LINEAR].url,
        f"expected sha256:{KNOWN_HEADS[LINEAR].sha256}, got {Hashes().of(tmp_path / 'page.html')}",
        "give its path as heads.beauty.weights",
    ):
        assert part in str(error.value)
    assert not list(kept_head(LINEAR).parent.iterdir())


def test_a_kept_head_that_is_damaged_is_refused(home):
    kept = kept_head(LINEAR)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"damaged")
    with pytest.raises(HeadUnavailableError, match=rf"expected .* got .*; delete {kept}, and"):
        head_file("beauty", "fetch", LINEAR)
    assert home.asked == []


def test_a_head_without_a_known_hash_is_taken_as_it_comes(home, tmp_path):
    (tmp_path / "head.pth").write_bytes(b"head")
    home.files[KNOWN_HEADS[UNPINNED].url] = tmp_path / "head.pth"
    assert head_file("nsfw", "fetch", UNPINNED).read_bytes() == b"head"


def test_a_home_that_can_not_be_reached_names_the_way_out(home):
    with pytest.raises(HeadUnavailableError) as error:
        head_file("nsfw", "fetch", UNPINNED)
    assert "can't be fetched (no route to host); fetch it where there is a network" in str(
        error.value
    )
    assert not list(kept_head(UNPINNED).parent.iterdir())


def test_a_path_is_taken_and_one_without_a_file_is_refused(home, tmp_path):
    (tmp_path / "head.pth").write_bytes(b"head")
    assert head_file("mine", str(tmp_path / "head.pth"), LINEAR) == tmp_path / "head.pth"
    with pytest.raises(HeadUnavailableError, match=r"heads\.mine: no file at /no/such; give"):
        head_file("mine", "/no/such", None)
    assert home.asked == []
