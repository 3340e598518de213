"""The real catalogues: published numbers of rows, limits, medians and quantiles."""

import doctest

import numpy as np
import pytest

from hifrac import catalogs
from hifrac.catalogs import CatalogFlag, plain_values, samples
from hifrac.catalogs.matching import match_ids
from hifrac.catalogs.targeted import SOUTHERN_LIMIT

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.filterwarnings("ignore:nibles. the file has lost the signs"),
]


@pytest.fixture(scope="module")
def a100():
    return catalogs.alfalfa_a100()


@pytest.fixture(scope="module")
def a40():
    return catalogs.alfalfa_a40()


@pytest.fixture(scope="module")
def durbala():
    return catalogs.durbala2020()


@pytest.fixture(scope="module")
def xgass():
    return catalogs.xgass()


def count(table, flag):
    return int(np.count_nonzero(table["catalog_flags"].filled(0) & int(flag)))


def test_alfalfa_a40_has_the_published_numbers(a40):
    assert len(a40) == 15855
    assert a40.meta["hifrac"]["crossmatched"] == 12468
    # Haynes+2011: of 15,855 sources 15,041 are certainly extragalactic.
    assert count(a40, CatalogFlag.NOT_EXTRAGALACTIC) == 15855 - 15041
    assert a40["log_mhi"].mask.sum() == 814
    assert count(a40, CatalogFlag.NO_COUNTERPART) == 1014
    assert not a40["ra"].mask.any()


def test_alfalfa_a100_has_the_published_numbers(a100):
    assert len(a100) == 31502
    assert np.bincount(a100["hi_code"])[1:].tolist() == [25434, 6068]
    assert a100.meta["hifrac"]["w20"] == "corrected release of 2019-08-08"
    assert count(a100, CatalogFlag.NO_COUNTERPART) == 344
    assert a100["agc"][a100["catalog_flags"] & int(CatalogFlag.BAD_FLUX) > 0].tolist() == [1117, 715637]


def test_hi_masses_of_a100_follow_from_flux_and_distance(a100):
    # M_HI = 2.356e5 D^2 S (Haynes+2018, section 3.1), to the rounding of the file.
    computed = np.log10(2.356e5 * plain_values(a100, "distance") ** 2 * plain_values(a100, "hi_flux"))
    # A flux of two decimals and a distance of one round the faintest and nearest by more.
    difference = computed - plain_values(a100, "log_mhi")
    assert np.nanmedian(np.abs(difference)) < 0.004
    assert np.nanquantile(np.abs(difference), 0.99) < 0.02


def test_durbala2020_has_the_published_numbers_and_three_mass_scales(durbala):
    assert len(durbala) == 31501
    # ReadMe, note 1 of table 1: 567 without counterpart, 28,267 with good photometry.
    assert count(durbala, CatalogFlag.NO_COUNTERPART) == 567
    assert count(durbala, CatalogFlag.BAD_PHOTOMETRY) == 31501 - 28267
    mhi, taylor, gswlc = (
        plain_values(durbala, name) for name in ("log_mhi", "log_mstar_taylor", "log_mstar_gswlc")
    )
    assert np.nanmedian(mhi - taylor) == pytest.approx(0.16, abs=0.006)
    assert np.nanmedian(mhi - gswlc) == pytest.approx(-0.02, abs=0.011)
    # For the same galaxies the scales differ by less.
    assert np.nanmedian(gswlc - taylor) == pytest.approx(0.14, abs=0.03)


def test_durbala_and_a100_agree_on_their_common_galaxies(durbala, a100):
    match = match_ids(durbala["agc"], a100["agc"])
    there = ~match["row"].mask
    assert there.sum() >= 31500
    rows = match["row"][there]
    difference = plain_values(durbala, "log_mhi")[there] - plain_values(a100, "log_mhi")[rows]
    assert np.abs(difference).max() < 0.02
    assert not match["ambiguous"].any()


def test_xgass_reproduces_its_row_of_table_1(xgass):
    assert len(xgass) == 1179
    assert xgass["log_mhi_limit"].sum() == 375
    _, *published = samples.PUBLISHED_QUANTILES["xGASS"]
    for name, row in zip(("log_mhi", "log_mstar", "log_hi_fraction"), published, strict=True):
        np.testing.assert_allclose(
            np.quantile(plain_values(xgass, name), [0.16, 0.5, 0.84]), row, atol=0.0051
        )


def test_nibles_has_lost_its_signs_and_alfalfa_tells_a_few(a100):
    nibles = catalogs.nibles(signs_from=[a100])
    assert len(nibles) == 1621
    assert count(nibles, CatalogFlag.DEC_SIGN_REPAIRED) == 9
    assert count(nibles, CatalogFlag.DEC_SIGN_CONFIRMED) == 628
    assert count(nibles, CatalogFlag.DEC_SIGN_UNKNOWN) == 391
    assert count(nibles, CatalogFlag.DERIVED_FRACTION) == 5
    assert np.abs(plain_values(nibles, "log_hi_fraction")[nibles["catalog_flags"] >= 1024]).max() < 0.011
    alone = catalogs.nibles()
    assert count(alone, CatalogFlag.DEC_SIGN_UNKNOWN) > 391
    # A second, all-sky catalogue tells more, and contradicts none.
    reference = catalogs.tmrs()
    assert len(reference) == 43533
    both = catalogs.nibles(signs_from=[a100, reference])
    assert count(both, CatalogFlag.DEC_SIGN_UNKNOWN) == 273
    turned = both["catalog_flags"] & int(CatalogFlag.DEC_SIGN_REPAIRED) > 0
    assert np.count_nonzero(turned) == 101
    # Galaxies that are taken for northern by the limit of the survey are so in both.
    assert plain_values(both, "dec")[turned].min() > SOUTHERN_LIMIT


def test_resolve_labels_have_their_limits():
    resolve = catalogs.resolve()
    assert len(resolve) == 81
    assert resolve["log_mhi_limit"].sum() == 23
    fraction = plain_values(resolve, "log_mhi") - plain_values(resolve, "log_mstar")
    np.testing.assert_allclose(plain_values(resolve, "log_hi_fraction"), fraction, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alfalfa_a40", "alfalfa_a100", "durbala2020", "nibles", "tmrs", "xgass"])
def test_the_example_of_a_reader(name):
    # The run of docstrings leaves it out, for it knows of no data.
    reader = getattr(catalogs, name)
    (example,) = doctest.DocTestFinder(recurse=False).find(reader, name, globs={})
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_ONLY_FIRST_FAILURE)
    assert runner.run(example) == (0, len(example.examples))


@pytest.mark.slow
def test_the_paper_is_reproduced_up_to_its_stellar_masses(durbala):
    selections = samples.paper_samples(durbala)
    table = {(row["sample"], row["step"]): row for one in selections.values() for row in one.counts()}
    for step, rows in (("start", 15855), ("SDSS", 12468), ("counterpart", 11739), ("duplicates", 11739)):
        assert (table["alpha.40A", step]["rows"], table["alpha.40A", step]["difference"]) == (rows, 0)
    assert table["alpha.40A", "valid mass"]["rows"] == 11328
    assert table["alpha.100", "start"]["difference"] == 0
    assert table["NIBLES", "own fraction"]["rows"] == 1171
    assert table["xGASS", "start"]["difference"] == 0
    assert "Durbala" in table["alpha.100", "Spring sky"]["note"]
    # Table 1 on another scale of masses: the HI masses agree, the fractions to their offset.
    sample = selections["alpha.40A"].table
    published = samples.PUBLISHED_QUANTILES["alpha.40A"]
    np.testing.assert_allclose(
        np.quantile(plain_values(sample, "log_mhi"), [0.16, 0.5, 0.84]), published[1], atol=0.04
    )
