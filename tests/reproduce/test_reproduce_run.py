"""Runs: resumed where nothing changed, done anew where something did, and never stopped by one failure."""

import json
import os
from dataclasses import replace
from hashlib import sha256

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.table import Table

from hifrac.core.config import cache_dir, conf
from hifrac.core.exceptions import HifracWarning, UnknownModelError
from hifrac.reproduce import EXPERIMENTS, numbers_table, reproduce, result, setting
from hifrac.reproduce._experiment import PAPERS, TIERS, Experiment, Setting
from hifrac.reproduce._inputs import metallicities
from hifrac.reproduce._run import select


class Counting:
    """An experiment that counts how often it is computed."""

    def __init__(self):
        self.calls = 0

    def __call__(self, where):
        self.calls += 1
        table = Table({"x": np.random.default_rng(where.seed).normal(size=3)})
        table.meta = {"numbers": {"answer": (42.0, 41.5)}, "notes": ["a note"]}
        return table


def plot(table):
    figure, axes = plt.subplots()
    axes.plot(table["x"])
    return figure


@pytest.fixture
def where(tmp_path):
    folder, model = tmp_path / "data", tmp_path / "model"
    folder.mkdir()
    model.mkdir()
    (folder / "a.txt").write_text("first")
    return Setting(folder, model)


@pytest.fixture
def counting():
    count = Counting()
    return count, Experiment("fig2", "Figure 2: a test", "sample", count, ("a.txt",), plot)


def test_a_result_says_where_it_comes_from(where, counting, tmp_path):
    entries = reproduce([counting[1]], where, tmp_path / "out")
    assert entries["fig2"]["status"] == "done"
    meta = Table.read(tmp_path / "out" / "fig2.ecsv").meta
    assert meta["notes"] == ["a note"]
    known = meta["hifrac"]
    assert known["inputs"] == {str(where.folder / "a.txt"): sha256(b"first").hexdigest()}
    assert known["numbers"] == {"answer": [42.0, 41.5]}
    assert known["versions"]["numpy"] == np.__version__
    assert known["seconds"] >= 0
    assert {"fig2.ecsv", "fig2.pdf", "fig2.png"} <= {one.name for one in (tmp_path / "out").iterdir()}
    summary = Table.read(tmp_path / "out" / "summary.ecsv")
    assert summary["experiment", "quantity", "ours", "published", "tier"][0].as_void().tolist() == (
        *("fig2", "answer", 42.0, 41.5, "sample"),
    )


def test_what_is_there_is_kept_until_an_input_or_the_seed_changes(where, counting, tmp_path):
    count, one = counting
    out = tmp_path / "out"

    def status(at=where, **options):
        return reproduce([one], at, out, **options)["fig2"]["status"]

    assert [status(), status()] == ["done", "kept"]
    assert count.calls == 1
    assert json.loads((out / "manifest.json").read_text())["fig2"]["status"] == "kept"
    assert status(redo=True) == "done"
    assert [status(replace(where, seed=2)), status()] == ["done", "kept"]
    (where.folder / "a.txt").write_text("second")
    assert [status(), status()] == ["done", "kept"]
    assert count.calls == 4


def test_a_result_that_was_lost_or_edited_is_put_back(where, counting, tmp_path):
    count, one = counting
    out = tmp_path / "out"
    reproduce([one], where, out)
    names = ("fig2.ecsv", "fig2.pdf", "fig2.png")
    before = {name: (out / name).read_bytes() for name in names}
    (out / "fig2.png").unlink()
    (out / "fig2.ecsv").write_text("edited")
    assert reproduce([one], where, out)["fig2"]["status"] == "kept"
    assert {name: (out / name).read_bytes() for name in names} == before
    again = tmp_path / "elsewhere"
    reproduce([one], where, again)
    assert {name: (again / name).read_bytes() for name in names} == before
    assert count.calls == 1


def test_what_is_damaged_in_the_cache_is_computed_again(where, counting, tmp_path):
    count, one = counting
    first = reproduce([one], where, tmp_path / "out")
    (kept,) = (cache_dir() / "reproduce").rglob("output.pkl")
    kept.write_bytes(b"damaged")
    again = reproduce([one], where, tmp_path / "out")
    assert count.calls == 2
    assert again["fig2"]["numbers"] == first["fig2"]["numbers"]


def test_one_result_is_read_where_a_run_has_left_it(where, counting, tmp_path, monkeypatch):
    count, one = counting
    monkeypatch.setitem(EXPERIMENTS, "fig2", one)
    reproduce("fig2", where, tmp_path / "out")
    first = result("fig2", where=where)
    again = result("fig2", where=where)
    assert count.calls == 1
    np.testing.assert_array_equal(first["x"], again["x"])
    result("fig2", where=where, redo=True)
    assert count.calls == 2


def test_one_result_without_its_data_or_with_a_fault_is_an_error(where, counting, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "fig2", replace(counting[1], inputs=("nothing.txt",)))
    with pytest.raises(FileNotFoundError, match=r"fig2 needs the file .*nothing\.txt"):
        result("fig2", where=where)
    monkeypatch.setitem(EXPERIMENTS, "fig2", replace(counting[1], compute=lambda _where: 1 / 0))
    with pytest.raises(RuntimeError, match="fig2 failed: ZeroDivisionError"):
        result("fig2", where=where)
    with pytest.raises(ValueError, match="name must be all or one of"):
        result("fig99", where=where)


def test_our_numbers_stand_beside_the_published_ones(where, counting, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "fig2", counting[1])
    fresh = counting[0](where)
    fresh.meta["numbers"]["other"] = (1.0, None)
    for table, names in ((fresh, ["answer", "other"]), (result("fig2", where=where), ["answer"])):
        numbers = numbers_table(table)
        assert list(numbers["quantity"]) == names
        assert (numbers["ours"][0], numbers["published"][0]) == (42.0, 41.5)
    assert numbers_table(fresh)["published"].mask.tolist() == [False, True]
    assert len(numbers_table(Table())) == 0


def test_a_result_names_the_papers_that_it_rests_on(where, counting, tmp_path):
    one = replace(counting[1], inputs=("a.txt", "bundled:gas-classes"))
    reproduce([one], where, tmp_path / "out")
    cited = Table.read(tmp_path / "out" / "fig2.ecsv").meta["hifrac"]["references"]
    assert cited[0] == "Wu 2020, ApJ 900, 142"
    assert len(cited) == len(set(cited))
    for name, experiment in EXPERIMENTS.items():
        own = experiment.references(setting(where.folder))
        assert len(own) > 1, name
        assert own[0] == PAPERS[experiment.paper]
        assert ("Haynes et al. 2018, ApJ 861, 49" in own) or "cutouts/hi_labels.ecsv" not in experiment.inputs


def test_a_whole_sample_of_the_paper_is_the_full_tier(where, counting, tmp_path):
    one = replace(counting[1], inputs=("a.txt", "cutouts/hi_labels.ecsv"))
    (where.folder / "cutouts").mkdir()
    for sample, tier in ((None, "sample"), ("alpha.40A", "full")):
        labels = Table({"objid": ["1"]}, meta={} if sample is None else {"sample": sample})
        labels.write(where.folder / "cutouts" / "hi_labels.ecsv", overwrite=True)
        entry = reproduce([one], where, tmp_path / tier)["fig2"]
        assert (entry["tier"], entry["status"]) == (tier, "done")
        assert Table.read(tmp_path / tier / "fig2.ecsv").meta["hifrac"]["tier"].startswith(f"{tier}: ")
        assert one.data_line(where) == f"Data: {tier} ({TIERS[tier]})"
        assert counting[1].tier_in(where) == "sample"  # it does not read them


def test_where_the_data_lie_does_not_matter(where, counting, tmp_path):
    reproduce([counting[1]], where, tmp_path / "out")
    moved = replace(where, folder=where.folder.rename(tmp_path / "moved"))
    assert reproduce([counting[1]], moved, tmp_path / "out")["fig2"]["status"] == "kept"


def test_the_same_run_writes_the_same_figures(where, counting, tmp_path):
    first, second = (
        reproduce([counting[1]], where, tmp_path / name, redo=True) and tmp_path / name
        for name in ("one", "two")
    )
    assert counting[0].calls == 2
    assert (first / "fig2.png").read_bytes() == (second / "fig2.png").read_bytes()
    assert (first / "fig2.pdf").read_bytes() == (second / "fig2.pdf").read_bytes()


def test_one_that_fails_does_not_stop_the_others(where, counting, tmp_path):
    def fails(_where):
        raise RuntimeError("no such\nluck")

    bad = Experiment("fig1", "Figure 1: bad", "full", fails)
    seen = []
    entries = reproduce([bad, counting[1]], where, tmp_path / "out", report=seen.append)
    assert [one["status"] for one in seen] == ["failed", "done"]
    assert entries["fig1"]["error"] == "RuntimeError: no such luck"
    assert not (tmp_path / "out" / "fig1.ecsv").exists()


def test_what_is_missing_is_named(where, counting, tmp_path):
    needs = replace(counting[1], inputs=("a.txt", "b.txt", "teimoorinia2017", "model/out_of_fold.ecsv"))
    entry = reproduce([needs], where, tmp_path / "out")["fig2"]
    assert entry["status"] == "missing"
    first, second, third = entry["missing"]
    assert first.endswith("b.txt")
    assert "hifrac catalogs fetch teimoorinia2017" in second
    assert third.endswith("out_of_fold.ecsv")
    entry = reproduce([replace(needs, without="the moon")], where, tmp_path / "out")["fig2"]
    assert (entry["missing"], entry["without"]) == ([first, second, third], "the moon")
    assert counting[0].calls == 0


def test_without_a_data_directory_everything_is_missing_and_nothing_is_run(counting, tmp_path, monkeypatch):
    monkeypatch.delenv("HIFRAC_DATA_DIR", raising=False)
    nowhere = setting(needs_folder=False)
    assert nowhere.folder is None
    for experiment in EXPERIMENTS.values():
        assert experiment.files(nowhere)[1][0].startswith("the data directory")
    needs_nothing = replace(counting[1], inputs=())
    entry = reproduce([needs_nothing], nowhere, tmp_path / "out")["fig2"]
    assert (entry["status"], len(entry["missing"]), counting[0].calls) == ("missing", 1, 0)


def test_the_summary_keeps_the_numbers_of_other_experiments(where, counting, tmp_path):
    out = tmp_path / "out"
    reproduce([counting[1]], where, out)
    reproduce([replace(counting[1], name="fig3")], where, out)
    reproduce([counting[1]], where, out)
    assert sorted(Table.read(out / "summary.ecsv")["experiment"]) == ["fig2", "fig3"]
    bad = replace(counting[1], compute=lambda _where: 1 / 0)
    reproduce([bad], where, out, redo=True)
    assert list(Table.read(out / "summary.ecsv")["experiment"]) == ["fig3"]


def test_a_damaged_summary_is_told_and_replaced(where, counting, tmp_path):
    out = tmp_path / "out"
    for damage in ("nothing", "experiment\nfig2\n"):
        out.mkdir(exist_ok=True)
        (out / "summary.ecsv").write_text(damage)
        with pytest.warns(HifracWarning, match="cannot be read"):
            reproduce([counting[1]], where, out)
        assert len(Table.read(out / "summary.ecsv")) == 1


def test_the_data_are_those_of_the_setting_and_the_network_is_off(where, tmp_path, monkeypatch):
    monkeypatch.setenv("HIFRAC_DATA_DIR", "/elsewhere")

    def look(inner):
        environment = os.environ["HIFRAC_DATA_DIR"]
        return Table({"folder": [str(inner.root)], "environment": [environment], "offline": [conf.offline]})

    reproduce([Experiment("table1", "Table 1: a test", "full", look)], where, tmp_path / "out")
    (row,) = Table.read(tmp_path / "out" / "table1.ecsv")
    assert row["folder"] == str(where.folder)
    assert row["environment"] == "/elsewhere"
    assert str(row["offline"]) == "True"
    (where.folder / "catalogs").mkdir()
    (where.folder / "catalogs" / "2mrs_radec_cz.csv").write_text("nothing")
    one = Experiment("table1", "Table 1: a test", "full", look, ("tmrs",))
    assert one.files(where) == ([where.folder / "catalogs" / "2mrs_radec_cz.csv"], [])
    (missing,) = reproduce(["table1"], where, tmp_path / "out")["table1"]["missing"][:1]
    assert "hifrac catalogs fetch alfalfa_a40" in missing


def test_experiments_bear_the_names_of_the_paper():
    known = {f"fig{n}" for n in range(1, 14)} | {f"table{n}" for n in range(1, 5)}
    known |= {f"{one}-simulated" for one in known} | {f"wu2019-fig{n}" for n in range(1, 7)}
    beyond = {"coverage", "reliability", "slopes", "wu2019-models", "wu2019-shrinkage"}
    beyond |= {f"wupeek2020-{name}" for name in ("bases", "examples", "explain", "legacy", "lines")}
    assert set(EXPERIMENTS) - known == beyond
    for name, experiment in EXPERIMENTS.items():
        assert experiment.paper == (name.split("-")[0] if name.startswith(("wu2019", "wupeek")) else "wu2020")
    assert [one.name for one in select("all")] == list(EXPERIMENTS)
    assert [one.name for one in select(["fig5", "fig1", "fig5"])] == ["fig5", "fig1"]
    with pytest.raises(ValueError, match="got fig99"):
        select("fig99")
    with pytest.raises(ValueError, match="tier must be"):
        Experiment("fig1", "", "best", plot)


def test_a_setting_needs_a_folder_and_a_model(tmp_path, monkeypatch):
    monkeypatch.delenv("HIFRAC_DATA_DIR", raising=False)
    with pytest.raises(ValueError, match="data_dir: none is configured"):
        setting()
    with pytest.raises(FileNotFoundError, match="no such folder"):
        setting(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="draws must be at least 2"):
        setting(tmp_path, draws=1)
    with pytest.raises(UnknownModelError, match="nothing"):
        setting(tmp_path, model="nothing")
    for model in (setting(tmp_path).model, setting(tmp_path).metallicity):
        assert (model / "out_of_fold.ecsv").is_file()


def test_a_model_given_is_that_of_its_quantity(tmp_path):
    default = setting(tmp_path)
    card = json.loads((default.model / "card.json").read_text())
    folders = {}
    for column in ("oh", "log_hi_fraction"):
        folders[column] = tmp_path / column
        folders[column].mkdir()
        (folders[column] / "card.json").write_text(json.dumps(card | {"target_column": column}))
    given = setting(tmp_path, model=folders["oh"])
    assert (given.model, given.metallicity) == (default.model, folders["oh"])
    given = setting(tmp_path, model=folders["log_hi_fraction"])
    assert (given.model, given.metallicity) == (folders["log_hi_fraction"], default.metallicity)


def test_without_a_model_of_the_metallicity_that_is_missing(where):
    assert "a model of the metallicity" in EXPERIMENTS["wu2019-fig2"].files(where)[1]
    with pytest.raises(ValueError, match="setting: it has no model of the metallicity"):
        metallicities(where)
