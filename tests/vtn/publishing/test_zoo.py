"""The model zoo: its page is up to date, its sizes are counted, published files are recognised."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import vtn
from slowfast.config import load_config
from slowfast.errors import CheckpointError
from slowfast.models import build_model
from slowfast.models.complexity import clip_complexity, count_parameters
from vtn.cli.zoo import main
from vtn.publishing import zoo

ROOT = Path(__file__).parents[3]


def test_the_page_is_up_to_date(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    assert main(["--page", str(page)]) == 0
    assert page.read_text(encoding="utf-8") == (ROOT / "MODEL_ZOO.md").read_text(encoding="utf-8")


def test_the_tool_of_a_checkout_lists_the_models_and_writes_nothing() -> None:
    page = ROOT / "MODEL_ZOO.md"
    before = page.stat().st_mtime_ns
    done = subprocess.run([sys.executable, ROOT / "tools" / "model_zoo.py"], capture_output=True, text=True)
    assert "VIT_B_VTN " in done.stdout, done.stderr
    assert page.stat().st_mtime_ns == before


def test_the_list_is_installed_with_the_package() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "vtn.zoo_data" in build["packages"]
    assert (ROOT / build["package-dir"]["vtn.zoo_data"] / "zoo.yaml").is_file()
    assert "*.yaml" in build["package-data"]["*"]


@pytest.mark.parametrize("entry", zoo.read_zoo(), ids=lambda entry: entry.name)
def test_sizes_are_counted_and_agree_with_the_paper(entry: zoo.ZooEntry) -> None:
    """Within 1 %, where the paper states them."""
    with torch.device("meta"):
        model = build_model(load_config(entry.config), fetch_weights=False)
    macs = clip_complexity(model, frames=250, size=224).total.weights / 1e9
    parameters = count_parameters(model) / 1e6
    assert entry.parameters == pytest.approx(parameters, abs=0.05)
    assert entry.gmacs == pytest.approx(macs, abs=0.5)
    assert parameters == pytest.approx(entry.paper.get("parameters", parameters), rel=0.01)
    assert macs == pytest.approx(entry.paper.get("gmacs", macs), rel=0.01)


def test_products_of_attention_are_counted_separately() -> None:
    """16.87 GMACs per frame without the matrix products of attention, 17.58 with them."""
    with torch.device("meta"):
        model = build_model(load_config("VIT_B_VTN"), fetch_weights=False)
    total = clip_complexity(model, frames=250, size=224).total
    assert total.weights / 250e9 == pytest.approx(16.87, rel=0.001)
    assert total.total / 250e9 == pytest.approx(17.58, rel=0.001)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of weights whose hash is in the zoo."""
    path = tmp_path / "PUBLISHED.pyth"
    torch.save({"model_state": vtn.create_model("QUICKSTART").state_dict()}, path)
    known = zoo.Weights("PUBLISHED.pyth", "https://example.org/it", zoo.file_sha256(path), 1.0, 2.0, "")
    entry = dataclasses.replace(zoo.read_zoo()[0], name="Known", config="QUICKSTART", weights=known)
    monkeypatch.setattr(zoo, "read_zoo", lambda: (entry,))
    return path


def test_a_published_file_is_verified(published: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        vtn.create_model("QUICKSTART", checkpoint=published)
    assert "verified, the published weights of Known" in caplog.text


def test_an_incomplete_download_is_refused(published: Path) -> None:
    published.write_bytes(published.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"its SHA-256 is .*; it is incomplete or was changed: "):
        vtn.create_model("QUICKSTART", checkpoint=published)


def test_a_file_of_the_user_is_loaded_as_it_is(published: Path) -> None:
    own = published.with_name("own.pyth")
    model = vtn.create_model("QUICKSTART")
    torch.save(model.state_dict(), own)
    assert zoo.find_zoo_entry(own) is None
    loaded = vtn.create_model("QUICKSTART", checkpoint=own)
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        vtn.create_model("QUICKSTART", checkpoint=tmp_path / "missing.pyth")
