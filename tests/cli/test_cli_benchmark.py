"""The estimators judged on a survey: small catalogues whose figures can be computed otherwise."""

import itertools
import shutil
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from commands import call
from pictures import encode, galaxy

from hifrac import HIFractionEstimator, LocalCutouts, conf, relations
from hifrac.catalogs.errors import CatalogMissingError
from hifrac.metrics import regression_metrics
from hifrac.reproduce import benchmark
from hifrac.reproduce._benchmark import SURVEYS

N, LIMITS = 120, 30


def resolve_table(n=N):
    """A survey whose galaxies scatter about the photometric gas fractions of g-r; the last are limits."""
    rng = np.random.default_rng(5)
    g_minus_r = rng.uniform(0.15, 0.65, n)
    truth = relations.eckert2015_pgf(g_minus_r)["log_hi_fraction"].data.data + rng.normal(0, 0.3, n)
    table = Table(
        {
            "name": [f"rf{number:04d}" for number in range(n)],
            "objid": [str(1237648674511061000 + number) for number in range(n)],
            "ra": rng.uniform(131, 236, n) * u.deg,
            "dec": rng.uniform(0, 5, n) * u.deg,
            "cz": rng.uniform(4500, 7000, n) * u.km / u.s,
            "log_mstar_resolve": np.full(n, 9.5),
            "log_mhi": 9.5 + truth,
            "is_limit": np.arange(n) >= n - LIMITS,
            "g_minus_r": g_minus_r * u.mag,
            "i_mag": np.full(n, 15.0) * u.mag,
            "r50": np.full(n, 5.0) * u.arcsec,
        }
    )
    table["g_minus_r"][:4] = [np.nan, np.nan, np.nan, 0.99]  # three without, one beyond the range
    return table


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data directory with RESOLVE alone, and no network."""
    monkeypatch.setenv("HIFRAC_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "data" / "catalogs"
    folder.mkdir(parents=True)
    resolve_table().write(folder / "resolve_labels.ecsv")
    with conf.set_temp("offline", True):
        yield folder


def row_of(table, estimator):
    (row,) = table[table["estimator"] == estimator]
    return row


def test_a_relation_has_the_figures_of_its_detections_and_the_share_of_violated_limits(data):
    row = row_of(benchmark("resolve", draws=50), "eckert2015_gr")
    survey = resolve_table()
    truth = np.array(survey["log_mhi"] - survey["log_mstar_resolve"])
    result = relations.eckert2015_pgf(survey["g_minus_r"])
    estimate = result["log_hi_fraction"].filled(np.nan)
    limit = np.array(survey["is_limit"])
    used = np.isfinite(estimate) & ~limit
    assert row["n"] == used.sum() == N - LIMITS - 4
    for name, value in regression_metrics(truth[used], estimate[used]).items():
        assert row[name] == pytest.approx(value), name
        assert 0 < row[f"{name}_error"] < 0.2
    low, high = (result[f"log_hi_fraction_p{one}"].filled(np.nan) for one in (16, 84))
    assert row["coverage"] == np.mean((low[used] <= truth[used]) & (truth[used] <= high[used]))
    assert row["n_limits"] == LIMITS
    assert row["limits_violated"] == np.mean(estimate[limit] > truth[limit])


def test_rows_without_photometry_and_rows_beyond_the_range_are_counted_apart(data):
    table = benchmark("resolve", draws=0)
    for row in table:
        assert (
            row["n"] + row["n_limits"] + row["no_input"] + row["out_of_range"] == table.meta["with_hi"] == N
        )
    # 0.99 mag is beyond the range of Eckert's g-r, and within that of Zhang's.
    for estimator, beyond in (("eckert2015_gr", 1), ("zhang2009", 0)):
        row = row_of(table, estimator)
        assert (row["no_input"], row["out_of_range"]) == (3, beyond)
    assert np.isnan(table["rmse_error"]).all()


def test_what_cannot_run_says_why(data):
    meta = benchmark("resolve", draws=0).meta
    assert meta["not_run"]["eckert2015_gi"] == "no g_minus_i"
    assert "hifrac catalogs fetch teimoorinia2017" in meta["not_run"]["teimoorinia2017"]
    assert meta["not_run"]["default"] == (
        "no pictures: give cutouts (--cutouts), or fetch them: hifrac catalogs write NAME -o galaxies.ecsv, "
        "then hifrac fetch galaxies.ecsv"
    )
    assert meta["limits"] == LIMITS
    assert any("not the Petrosian ones of zhang2009" in note for note in meta["notes"])


def test_the_fitted_line_is_judged_on_what_it_was_not_fitted_to(data):
    row = row_of(benchmark("resolve", draws=0), "linear fit (g_minus_r)")
    survey = resolve_table()
    truth = np.array(survey["log_mhi"] - survey["log_mstar_resolve"])
    colour = np.array(survey["g_minus_r"])
    fitted = np.isfinite(colour) & ~np.array(survey["is_limit"])
    # Each tenth by a line through the other nine, which nothing beyond their colours is asked of.
    places = np.flatnonzero(fitted)
    fold = np.random.default_rng(0).permutation(places.size) % 10
    difference = []
    for number in range(10):
        others, own = places[fold != number], places[fold == number]
        own = own[(colour[own] >= colour[others].min()) & (colour[own] <= colour[others].max())]
        line = np.polyfit(colour[others], truth[others], 1)
        difference.append(np.polyval(line, colour[own]) - truth[own])
    difference = np.concatenate(difference)
    assert row["n"] == difference.size < places.size
    assert row["rmse"] == pytest.approx(np.sqrt(np.mean(difference**2)))


def test_all_are_judged_on_the_same_galaxies_if_asked(data):
    table = benchmark("resolve", draws=0, common=True)
    assert len(set(table["n"])) == 1
    assert set(table["no_input"]) == set(table["out_of_range"]) == {0}


def test_photometry_of_ones_own_is_taken_by_position(data):
    survey = resolve_table()
    own = Table({"ra": survey["ra"], "dec": survey["dec"], "g_minus_i": np.linspace(0.3, 1.1, N)})[::-1][:100]
    row = row_of(benchmark("resolve", photometry=own, draws=0), "eckert2015_gi")
    assert row["no_input"] == N - 100
    result = relations.eckert2015_pgf(np.linspace(0.3, 1.1, N), band="g-i")["log_hi_fraction"].data.data
    used = (np.arange(N) >= 20) & ~np.array(survey["is_limit"])
    truth = np.array(survey["log_mhi"] - survey["log_mstar_resolve"])
    assert row["offset"] == pytest.approx(np.mean(result[used] - truth[used]))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"ra": [150.0], "dec": [1.0], "colour": [0.5]}, "photometry has none of nuv_minus_r, .*colour"),
        ({"ra": [150.0], "dec": [1.0], "objid": [1.2e18]}, "photometry: objid must be text or integers"),
        ({"g_minus_i": [0.5]}, "photometry: the table has no column ra"),
        ({"ra": [10.0], "dec": [-60.0], "g_minus_i": [0.5]}, "photometry has no galaxy of the survey"),
    ],
)
def test_photometry_that_is_of_no_use_is_refused(data, columns, message):
    with pytest.raises(ValueError, match=message):
        benchmark("resolve", photometry=Table(columns))


def test_the_model_judges_pictures_that_are_there(data, tmp_path):
    folder = tmp_path / "cutouts"
    folder.mkdir()
    survey = resolve_table()
    for number in range(20):
        (folder / f"{survey['objid'][number]}.jpg").write_bytes(encode(galaxy(number)))
    table = benchmark("resolve", cutouts=folder, draws=0)
    row = row_of(table, "default")
    assert (row["n"], row["n_limits"], row["no_input"]) == (20, 0, N - 20)
    estimator = HIFractionEstimator(cutouts=LocalCutouts(folder, name="objid"))
    estimate = estimator.predict(survey["ra", "dec", "objid"][:20])["log_hi_fraction"].data.data
    truth = np.array(survey["log_mhi"] - survey["log_mstar_resolve"])[:20]
    assert row["offset"] == pytest.approx(np.mean(estimate - truth))
    assert any(note.startswith("Masses that default learned: ") for note in table.meta["notes"])


def test_pictures_that_were_fetched_are_judged(data, quick_service, tmp_path):
    written = call("catalogs", "write", "resolve", "-o", tmp_path / "g.ecsv")
    assert written.exit_code == 0, written.output
    looks = [encode(galaxy(seed)) for seed in range(6)]  # of which each is given to 20 positions
    numbers = itertools.count()
    quick_service.pictures = lambda _: looks[next(numbers) % 6]
    with conf.set_temp("offline", False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "20 positions got one and the same picture")
        fetched = call("fetch", tmp_path / "g.ecsv")
    assert fetched.exit_code == 0, fetched.output
    quick_service.requests.clear()
    row = row_of(benchmark("resolve", draws=0), "default")
    assert (row["n"] + row["n_limits"], row["no_input"]) == (N, 0)
    assert quick_service.requests == []


def test_galaxies_that_the_model_learned_from_are_judged_by_its_held_out_answers(data, tmp_path):
    from importlib import resources

    kept = Table.read(str(resources.files("hifrac.models") / "weights" / "default" / "out_of_fold.ecsv"))
    survey = resolve_table()
    survey["objid"][:25] = np.array(kept["objid"].astype(str))[:25]
    survey.write(data / "resolve_labels.ecsv", overwrite=True)
    folder = tmp_path / "cutouts"
    folder.mkdir()
    for number in range(30):
        (folder / f"{survey['objid'][number]}.jpg").write_bytes(encode(galaxy(number)))
    table = benchmark("resolve", cutouts=folder, draws=0)
    assert row_of(table, "default")["n"] == 5
    assert np.isfinite(row_of(table, "default")["coverage"])
    row = row_of(table, "default, held out")
    assert row["n"] == 25
    truth = np.array(survey["log_mhi"] - survey["log_mstar_resolve"])[:25]
    # RESOLVE did not choose its galaxies by their HI.
    name = "intrinsic_log_hi_fraction"
    assert row["offset"] == pytest.approx(np.mean(np.array(kept[name])[:25] - truth))
    low, high = (np.array(kept[f"{name}_{end}"])[:25] for end in ("p16", "p84"))
    assert row["coverage"] == pytest.approx(np.mean((truth >= low) & (truth <= high)))


def folder_of_the_default_model(path, **columns):
    """A copy of the default model with a hundred held-out answers in other columns, and a survey of 30."""
    from importlib import resources

    shutil.copytree(str(resources.files("hifrac.models") / "weights" / "default"), path)
    kept = Table.read(path / "out_of_fold.ecsv")[:100]
    for name, values in columns.items():
        if values is None:
            kept.remove_column(name)
        else:
            kept[name] = values(kept)
    kept.write(path / "out_of_fold.ecsv", overwrite=True)
    survey = resolve_table()
    survey["objid"][:30] = np.array(kept["objid"].astype(str))[:30]
    return kept, survey


def test_held_out_intervals_that_are_kept_with_a_model_are_judged(data, tmp_path):
    model = tmp_path / "mine"
    kept, survey = folder_of_the_default_model(
        model,
        intrinsic_log_hi_fraction_p16=lambda kept: kept["intrinsic_log_hi_fraction"] - 0.8,
        intrinsic_log_hi_fraction_p84=lambda kept: kept["intrinsic_log_hi_fraction"] + 0.4,
    )
    survey.write(data / "resolve_labels.ecsv", overwrite=True)
    pictures = tmp_path / "cutouts"
    pictures.mkdir()
    table = benchmark("resolve", model=model, cutouts=pictures, draws=0)
    truth = np.array(survey["log_mhi"] - survey["log_mstar_resolve"])[:30]
    away = truth - np.array(kept["intrinsic_log_hi_fraction"])[:30]
    share = np.mean((away >= -0.8) & (away <= 0.4))
    assert 0 < share < 1
    assert row_of(table, "mine, held out")["coverage"] == pytest.approx(share)
    assert not any("no coverage" in note for note in table.meta["notes"])


@pytest.mark.parametrize("missing", ["intrinsic_log_hi_fraction_p16", "intrinsic_log_hi_fraction_p84"])
def test_held_out_answers_without_intervals_have_no_coverage_and_a_note(data, tmp_path, missing):
    model = tmp_path / "mine"
    _, survey = folder_of_the_default_model(model, **{missing: None})  # a bound alone is no interval
    survey.write(data / "resolve_labels.ecsv", overwrite=True)
    pictures = tmp_path / "cutouts"
    pictures.mkdir()
    table = benchmark("resolve", model=model, cutouts=pictures, draws=0)
    assert np.isnan(row_of(table, "mine, held out")["coverage"])
    assert any(note.startswith("mine, held out: no coverage, for ") for note in table.meta["notes"])


def test_a_folder_without_the_pictures_says_so(data, tmp_path):
    folder = tmp_path / "cutouts"
    folder.mkdir()
    (folder / "another.jpg").write_bytes(encode(galaxy(1)))
    assert (
        "none of its galaxies has a picture"
        in benchmark("resolve", cutouts=folder, draws=0).meta["not_run"]["default"]
    )


def test_a_survey_that_is_unknown_or_absent_is_refused(data):
    with pytest.raises(ValueError, match=f"survey must be one of {', '.join(SURVEYS)}, got 'sami'"):
        benchmark("sami")
    with pytest.raises(CatalogMissingError, match="hifrac catalogs fetch durbala2020"):
        benchmark("durbala2020")


def test_a_survey_without_any_photometry_is_refused(data):
    survey = resolve_table()
    survey.remove_columns(["g_minus_r", "i_mag", "r50"])
    survey.write(data / "resolve_labels.ecsv", overwrite=True)
    with pytest.raises(
        ValueError, match=r"survey: no estimator can run on resolve \(zhang2009: no g_minus_r; "
    ):
        benchmark("resolve")


# The command


def test_the_command_prints_the_table_and_writes_it(data, tmp_path):
    output = tmp_path / "figures.ecsv"
    result = call("benchmark", "resolve", "--draws", 20, "-o", output)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == f"resolve: {N} galaxies, {N} with HI mass fraction, of which {LIMITS} upper limits"
    (line,) = [one for one in lines if one.startswith("eckert2015_gr")]
    assert line.split()[1:4] == [str(N - LIMITS - 4), "3", "1"]
    assert "±" in line
    assert "not run: eckert2015_gi: no g_minus_i" in lines
    table = Table.read(output)
    assert f"{row_of(table, 'eckert2015_gr')['rmse']:.3f} ±" in line
    assert table["rmse"].description == "root mean square of estimate minus measured value (dex)"
    again = call("benchmark", "resolve", "-o", output)
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr == f"Error: {output} exists already; say --overwrite to replace it\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("sami",), ("survey must be one of xgass", "'sami'")),
        (("nibles",), ("no file nibles_clean.csv",)),
        (("resolve", "--cutouts", "nowhere"), ("--cutouts: no such file or folder: nowhere",)),
        (("resolve", "--photometry", "nowhere.csv"), ("no such file: nowhere.csv",)),
        (("resolve", "--draws", "1"), ("--draws must be 0, or at least 2",)),
        (("resolve", "-o", "figures.docx"), ("figures.docx",)),
    ],
)
def test_what_cannot_be_done_is_one_line(data, args, words):
    result = call("benchmark", *args)
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    for word in ("Error: ", *words):
        assert word in line


def test_no_draws_give_figures_without_errors(data):
    result = call("benchmark", "resolve", "--draws", "0")
    assert result.exit_code == 0, result.output
    assert "eckert2015_gr" in result.stdout


@pytest.mark.real_data
def test_xgass_is_judged_with_what_photometry_there_is():
    table = benchmark("xgass", draws=0)
    assert (table.meta["with_hi"], table.meta["limits"]) == (1179, 375)
    eckert, line = row_of(table, "eckert2015_gi"), row_of(table, "linear fit (nuv_minus_r)")
    # ALFALFA has the optical colours of what it detected, and so hardly a galaxy with a limit.
    assert eckert["n_limits"] < 10
    assert line["n_limits"] > 300
    # Lines fitted to detections overestimate what is not detected.
    assert 0.7 < line["limits_violated"] < 1
    assert 0.3 < line["rmse"] < 0.4
    assert table.meta["not_run"]["zhang2009"] == "no g_minus_r"


@pytest.mark.real_data
def test_no_galaxy_of_the_training_set_is_judged_by_the_trained_model():
    table = benchmark("resolve", draws=0)
    assert "default" not in table["estimator"]
    row = row_of(table, "default, held out")
    assert (row["n"], row["n_limits"]) == (58, 23)
    assert 0.4 < row["coverage"] < 0.8
