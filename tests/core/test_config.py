"""The settings: where they come from, when they are read, and what they refuse. And what imports cost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from astropy.config import set_temp_config

import hifrac
from hifrac.core.config import cache_dir, conf, data_dir


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """No setting in the environment, and a home folder of its own."""
    for variable in ("HIFRAC_DATA_DIR", "HIFRAC_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


def test_no_data_directory_is_none(bare):
    assert data_dir() is None


def test_the_environment_comes_before_the_setting(bare):
    with conf.set_temp("data_dir", "from-setting"), conf.set_temp("cache_dir", "cache-from-setting"):
        assert data_dir() == Path("from-setting")
        assert cache_dir() == Path("cache-from-setting")
        bare.setenv("HIFRAC_DATA_DIR", "from-environment")
        bare.setenv("HIFRAC_CACHE_DIR", "cache-from-environment")
        assert data_dir() == Path("from-environment")
        assert cache_dir() == Path("cache-from-environment")
        # An empty variable is one that is not set.
        bare.setenv("HIFRAC_DATA_DIR", "")
        bare.setenv("HIFRAC_CACHE_DIR", "")
        assert data_dir() == Path("from-setting")
        assert cache_dir() == Path("cache-from-setting")
    assert data_dir() is None


def test_the_cache_is_where_the_user_keeps_caches(bare, tmp_path):
    assert cache_dir() == tmp_path / ".cache" / "hifrac"
    bare.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "hifrac"
    assert not cache_dir().exists()


def test_the_home_folder_may_be_abbreviated(bare, tmp_path):
    bare.setenv("HIFRAC_DATA_DIR", "~/data")
    assert data_dir() == tmp_path / "data"
    with conf.set_temp("cache_dir", "~/cutouts"):
        assert cache_dir() == tmp_path / "cutouts"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device", "abacus"),
        ("model", 3),
        ("batch_size", 0),
        ("threads", -1),
        ("threads", 1_000_000),
        ("timeout", 0.0),
        ("timeout", -1.0),
        ("retries", -1),
        ("retries", 1.5),
        ("retry_backoff", -0.1),
        ("max_rate", -1.0),
    ],
)
def test_values_out_of_range_are_refused(name, value):
    before = getattr(conf, name)
    with pytest.raises(TypeError, match=name), conf.set_temp(name, value):
        pass
    assert getattr(conf, name) == before


def test_the_defaults_can_be_used_as_they_are():
    assert conf.device == "auto"
    assert conf.model in [card.name for card in hifrac.list_models()]
    assert "{data_release}" in conf.skyserver_url


def test_a_configuration_file_is_read(tmp_path):
    folder = tmp_path / "config" / "astropy"
    folder.mkdir(parents=True)
    (folder / "hifrac.cfg").write_text("batch_size = 7\nmodel = mine\n")
    with set_temp_config(tmp_path / "config"):
        conf.reload()
        assert (conf.batch_size, conf.model) == (7, "mine")
    conf.reload()
    assert (conf.batch_size, conf.model) != (7, "mine")


def test_every_public_name_resolves():
    assert hifrac.__all__ == sorted(hifrac.__all__)
    for name in hifrac.__all__:
        assert getattr(hifrac, name) is not None
    assert set(hifrac.__all__) <= set(dir(hifrac))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        hifrac.no_such_name  # noqa: B018


def test_imports_cost_nothing():
    code = (
        "import hifrac, hifrac.models\nfrom hifrac import list_models, ModelCard\n"
        "import sys, json; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "hifrac" in loaded
    assert not loaded & {"torch", "torchvision", "matplotlib", "sklearn", "safetensors"}
