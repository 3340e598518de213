"""Configurations: what a TOML file may say, and what is said of one that may not."""

import json
import re
import tomllib
from dataclasses import replace

import pytest

from hifrac.cutouts import SDSS_RECIPE, WU_BOADA_RECIPE
from hifrac.training.config import TrainingConfig, bundled_configs, read_config

MINIMAL = 'name = "mine"\n'
RESTARTS = '[optimizer]\nschedule = "restarts"\n'


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_bundled_ones():
    assert bundled_configs() == [
        "gas-classes",
        "gas-classes-monochrome",
        "metallicity-paper",
        "metallicity-paper-as-written",
        "metallicity-paper-demo",
        "metallicity-paper-revised",
        "metallicity-xresnet34",
        "paper",
        "paper-recognition",
        "shallow",
        "spectra-paper",
    ]
    for name in bundled_configs():
        assert read_config(name).name == name


def test_the_paper_is_that_of_the_paper():
    config = read_config("paper")
    network, optimizer = config.network, config.optimizer
    assert (network.architecture, network.loss, network.n_outputs) == ("xresnet34", "rmse", 1)
    assert (optimizer.epochs, optimizer.lr, optimizer.batch_size, optimizer.weight_decay) == (
        40,
        0.01,
        64,
        0.01,
    )
    assert (optimizer.warm_up, optimizer.div, optimizer.final_div) == (0.25, 25, 1e5)
    assert optimizer.max_degrees == 0
    assert config.split.held_out == 0.2
    assert config.run.seed == 12345
    detection = read_config("paper-recognition")
    assert (detection.network.loss, detection.network.smoothing) == ("smoothed_cross_entropy", 0.05)
    assert detection.network.n_outputs == 2
    assert detection.data.balance
    assert detection.optimizer == optimizer
    shallow = read_config("shallow")
    assert (shallow.network.architecture, shallow.optimizer.epochs) == ("shallow", 10)
    assert shallow.data.class_limits == (-0.5, 0.5)


def test_what_a_file_leaves_out_is_the_papers(write):
    config, paper = read_config(write(MINIMAL)), read_config("paper")
    assert config.optimizer == paper.optimizer
    assert config.network == paper.network
    assert config.pictures == SDSS_RECIPE


def test_a_file_says_everything(write):
    config = read_config(
        write(
            'name = "mine"\n[pictures]\nwidth = 64\npixel_scale = 1\n'
            '[data]\ntable = "t.ecsv"\ncutouts = "p"\nis_limit = "limit"\n'
            '[network]\nloss = "tobit_nll"\narchitecture = "xresnet18"\n'
            "[optimizer]\nlr = 1\nepochs = 3\n[run]\ndevices = 2\n"
        )
    )
    assert config.pictures == replace(SDSS_RECIPE, width=64, pixel_scale=1.0)
    assert isinstance(config.optimizer.lr, float)
    assert config.network.n_outputs == 2
    assert config.run.devices == 2


def test_pictures_may_have_scales_of_their_own(write):
    scale = 'data_release = "DR14"\nscale_column = "petroR90_r"\nscale_divisor = 25.344\n'
    assert read_config(write(f'name = "mine"\n[pictures]\n{scale}')).pictures == WU_BOADA_RECIPE


def test_paths_are_relative_to_the_file(write, tmp_path):
    path = write('name = "mine"\n[data]\ntable = "t.ecsv"\ncutouts = "/there/p"\n[split]\nfile = "s.ecsv"\n')
    config = read_config(path)
    assert config.data.table == str(tmp_path / "t.ecsv")
    assert config.data.cutouts == "/there/p"
    assert config.split.file == str(tmp_path / "s.ecsv")


@pytest.mark.parametrize("name", ["paper", "paper-recognition", "shallow"])
def test_plain_types_and_back(name):
    config = read_config(name)
    assert TrainingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("", ValueError, "name is missing"),
        ('name = ""', ValueError, "name must not be empty"),
        ("name = 3", TypeError, "name must be text, got 3"),
        ("nam = 3", ValueError, "nam is unknown; known here: name, summary, references, pictures"),
        ("optimizer = 3", TypeError, "optimizer must be a section, got 3"),
        (
            "[optimizer]\nepoch = 3",
            ValueError,
            "optimizer.epoch is unknown; known here: schedule, lr, layer_lrs",
        ),
        ("[optimizer]\nepochs = 3.5", TypeError, "optimizer.epochs must be an integer, got 3.5"),
        ("[optimizer]\nepochs = true", TypeError, "optimizer.epochs must be an integer, got True"),
        ("[optimizer]\nepochs = 0", ValueError, "optimizer.epochs must be at least 1, got 0"),
        ('[optimizer]\nlr = "0.01"', TypeError, "optimizer.lr must be a number, got '0.01'"),
        ("[optimizer]\nlr = 0", ValueError, "optimizer.lr must be above 0, got 0"),
        ("[optimizer]\nlr = nan", ValueError, "optimizer.lr must be above 0, got nan"),
        ("[optimizer]\nlr = inf", ValueError, "optimizer.lr must be above 0, got inf"),
        ("[optimizer]\nwarm_up = 1", ValueError, "optimizer.warm_up must lie between 0 and 1"),
        ("[optimizer]\nbatch_size = 1", ValueError, "optimizer.batch_size must be at least 2"),
        ("[run]\ndevices = 40", ValueError, "optimizer.batch_size must be at least 2 for each of 40 devices"),
        ('[run]\nprecision = "8"', ValueError, "run.precision must be one of 32-true, bf16-mixed, 16-mixed"),
        ("[run]\nseed = -1", ValueError, "run.seed must be at least 0"),
        ('[network]\narchitecture = "vgg"', ValueError, "network.architecture must be one of xresnet18"),
        ('[network]\nloss = "mse"', ValueError, "network.loss must be one of rmse, gaussian_nll"),
        ("[network]\nsmoothing = 2", ValueError, "network.smoothing must lie from 0 to 1"),
        ("[split]\nheld_out = 0", ValueError, "split.held_out must lie between 0 and 1"),
        ('[split]\nrule = "mine"', ValueError, "split.rule must be one of groups, paper-numpy"),
        ('[data]\ntable = "t"', ValueError, "data.table and data.cutouts go together"),
        ('[data]\nbalance = "yes"', TypeError, "data.balance must be true or false, got 'yes'"),
        ("[data]\nclass_limits = 0.5", TypeError, "data.class_limits must be a list, got 0.5"),
        ('[data]\nclass_limits = ["a", "b"]', TypeError, "data.class_limits must be a number, got 'a'"),
        ("[data]\nclass_limits = [1, 0]", ValueError, "data.class_limits must be two increasing numbers"),
        ('[data]\ncolumn = "a b"', ValueError, "data.column must be the name of a column"),
        ('[data]\nis_limit = "l"', ValueError, "data.is_limit goes with network.loss = 'tobit_nll'"),
        ("[data]\nbalance = true", ValueError, "go with network.loss = 'smoothed_cross_entropy'"),
        ('[data]\nsample = "detection"', ValueError, "go together"),
        ('[network]\nloss = "smoothed_cross_entropy"', ValueError, "go together"),
        ('extends = "papers"', ValueError, "extends must be one of gas-classes, "),
        ("[network]\ncrop = 129", ValueError, "network.crop must be at most 128, the side of what is cut"),
        ('[network]\npretrained = "w"', ValueError, "network.pretrained: torchvision has no weights of"),
        (
            '[network]\narchitecture = "resnet18"\npretrained = "w"\ninit_from = "m"',
            ValueError,
            "network.pretrained and network.init_from exclude each other",
        ),
        ("[optimizer]\nfrozen_epochs = 1", ValueError, "go with optimizer.schedule = 'restarts'"),
        ("[optimizer]\nlayer_lrs = [1, 2, 3]", ValueError, "go with optimizer.schedule = 'restarts'"),
        (RESTARTS, ValueError, "optimizer.epochs must be the sum of frozen_epochs, constant_epochs and at"),
        (RESTARTS + "cycles = [1, 2]\n", ValueError, "at least one of the cycles, 3; got 40"),
        (
            RESTARTS + "epochs = 1\ncycles = [1]\nlayer_lrs = [0.1]",
            ValueError,
            "optimizer.layer_lrs must be three numbers, got 1",
        ),
        (
            RESTARTS + "epochs = 2\nfrozen_epochs = 1\ncycles = [1]\n[run]\ndevices = 2",
            ValueError,
            "layers cannot be frozen with run.devices above 1",
        ),
        ("[optimizer]\nmax_zoom = 0.9", ValueError, "optimizer.max_zoom must be at least 1, got 0.9"),
        ("[optimizer]\nlighting = 1", ValueError, "optimizer.lighting must lie from 0 to 1, got 1"),
        ("[split]\nfold = 5", ValueError, "split.fold must be below 5, the number of folds with a share"),
        ('[split]\nfold = 0\nfile = "s"', ValueError, "split.fold goes with split.rule = 'groups'"),
        ("[pictures]\nwidth = 0", ValueError, "pictures.width must be positive"),
        ("[pictures]\nbands = [1, 2, 3]", TypeError, "pictures.bands must be text, got 1"),
        ("[pictures]\nscale = 1.0", ValueError, "pictures.scale is unknown"),
        (
            '[pictures]\nscale_column = "r"\npixel_scale = 1',
            ValueError,
            "pictures.pixel_scale or scale_column",
        ),
        (
            '[pictures]\nscale_column = "r"\nscale_divisor = 0',
            ValueError,
            "pictures.scale_divisor must be pos",
        ),
    ],
)
def test_what_a_file_may_not_say(write, text, error, words):
    path = write(text if text in ("", "nam = 3") or text.startswith("name") else MINIMAL + text)
    with pytest.raises(error, match=rf"^{re.escape(str(path))}: .*{re.escape(words)}"):
        read_config(path)


def test_a_file_that_is_not_toml(write):
    with pytest.raises(ValueError, match="not a TOML file"):
        read_config(write("name = "))


def test_a_name_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="xresnet34, paper, paper-recognition, shallow"):
        read_config("papers")
    with pytest.raises(FileNotFoundError, match="no file"):
        read_config(tmp_path)


def test_settings_change_single_values():
    config = read_config("paper").with_settings(
        ["optimizer.epochs=5", "name = mine", 'run.precision="bf16-mixed"', "pictures.pixel_scale=0.396127"]
    )
    assert (config.optimizer.epochs, config.name, config.run.precision) == (5, "mine", "bf16-mixed")
    assert config.pictures == replace(SDSS_RECIPE, pixel_scale=0.396127)


@pytest.mark.parametrize(
    ("setting", "error", "words"),
    [
        ("optimizer.epochs", ValueError, "a setting must be like optimizer.epochs=5"),
        ("=5", ValueError, "a setting must be like"),
        ("a.b.c=5", ValueError, "a setting must be like"),
        ("name.x=5", ValueError, "name.x: name is no section"),
        ("optimizer.epochs=five", TypeError, "optimizer.epochs must be an integer, got 'five'"),
        ("optimizer.epoch=5", ValueError, "optimizer.epoch is unknown"),
    ],
)
def test_settings_are_checked_too(setting, error, words):
    with pytest.raises(error, match=words):
        read_config("paper").with_settings([setting])


def test_a_users_table_keeps_network_and_schedule_and_nothing_said_of_the_data():
    config = read_config("paper").for_table("t.ecsv", "p", target="oh_p50", name="id")
    paper = read_config("paper")
    assert (config.network, config.optimizer, config.pictures) == (
        paper.network,
        paper.optimizer,
        paper.pictures,
    )
    assert config.name == "paper-oh_p50"
    assert (config.data.table, config.data.cutouts, config.data.name) == ("t.ecsv", "p", "id")
    assert (config.data.description, config.data.column, config.summary) == (None, None, "")
    assert "Taylor" not in config.data.mass_scale


def test_none_leaves_a_value_as_it_is():
    config = read_config("paper")
    assert config.changed(run={"seed": None}, split={"file": None}) == config
    assert config.changed(run={"seed": 7}).run.seed == 7


def test_the_files_are_toml_that_says_no_more_than_it_must():
    from importlib import resources

    for name in bundled_configs():
        text = (resources.files("hifrac.training") / "configs" / f"{name}.toml").read_text("utf-8")
        facts = tomllib.loads(text)
        if "extends" not in facts:
            assert TrainingConfig.from_dict(facts) == read_config(name)


def test_the_network_of_metallicities_is_trained_as_its_code_ran():
    config = read_config("metallicity-paper")
    network, optimizer = config.network, config.optimizer
    assert (network.architecture, network.loss, network.pretrained) == ("resnet34_concat_pool", "rmse", None)
    assert (optimizer.schedule, optimizer.lr, optimizer.layer_lrs) == ("restarts", 0.1, ())
    assert (optimizer.weight_decay, optimizer.batch_size) == (0.0, 128)
    assert (optimizer.epochs, optimizer.frozen_epochs, optimizer.constant_epochs) == (10, 2, 1)
    assert optimizer.cycles == (1, 2, 4)
    assert (optimizer.max_degrees, optimizer.max_zoom, optimizer.lighting) == (10, 1.1, 0.05)
    assert optimizer.test_views == 4
    assert (config.data.target, config.data.column) == ("oh_p50", "oh")
    assert "Wu & Boada 2019" in config.references[0]


@pytest.mark.parametrize(
    ("name", "lrs"), [("as-written", (1e-3, 1e-2, 1e-1)), ("revised", (1e-2, 3e-2, 1e-1))]
)
def test_its_other_rates_are_the_only_difference(name, lrs):
    paper, other = read_config("metallicity-paper"), read_config(f"metallicity-paper-{name}")
    assert other == replace(paper, name=other.name, optimizer=replace(paper.optimizer, layer_lrs=lrs))


def test_the_pictures_of_the_paper_have_scales_of_their_own():
    paper, demo = read_config("metallicity-paper"), read_config("metallicity-paper-demo")
    assert demo.pictures == WU_BOADA_RECIPE
    assert (demo.network, demo.optimizer) == (paper.network, paper.optimizer)
    assert (demo.split.rule, demo.split.held_out, demo.run.seed) == ("paper-numpy", 0.2, 42)
    assert demo.data == replace(paper.data, sample="metallicity-demo")


def test_the_later_network_of_metallicities_is_that_of_the_hi_paper_in_one_cycle():
    config, paper = read_config("metallicity-xresnet34"), read_config("paper")
    assert config.network == replace(paper.network, crop=112)
    changed = {"epochs": 7, "batch_size": 128, "frame": 144, "max_degrees": 10.0}
    assert config.optimizer == replace(paper.optimizer, **changed)
    assert config.data.sample == "metallicity"


def test_a_file_extends_a_bundled_one(write):
    config = read_config(write('extends = "metallicity-paper"\nname = "x"\n[optimizer]\nbatch_size = 16\n'))
    paper = read_config("metallicity-paper")
    assert config == replace(paper, name="x", optimizer=replace(paper.optimizer, batch_size=16))
