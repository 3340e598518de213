"""The figure of a galaxy beside its spectrum."""

import io

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from matplotlib.colors import to_hex

from hifrac import plot_spectrum
from hifrac.spectra import rest_wavelength, result_spectrum
from hifrac.visualization.spectra import LINES

pytest.importorskip("specutils")

PICTURE = np.random.default_rng(1).integers(0, 255, (32, 32, 3)).astype(np.uint8)
FLUX = np.linspace(0.02, 0.04, 1000)


def spectrum(flux=FLUX, **columns):
    return result_spectrum(Table({"flux": [flux], **{name: [values] for name, values in columns.items()}}))


def test_the_picture_and_the_spectrum_in_units_of_its_median():
    figure = plot_spectrum(PICTURE, spectrum(), title="NGC 1", label="predicted")
    left, axes = figure.axes
    np.testing.assert_array_equal(left.images[0].get_array(), PICTURE)
    line = next(line for line in axes.lines if line.get_label() == "predicted")
    np.testing.assert_allclose(line.get_xdata(), rest_wavelength().value)
    np.testing.assert_allclose(line.get_ydata(), FLUX / np.median(FLUX))
    assert figure.get_suptitle() == "NGC 1"
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")


def test_lines_are_named_where_they_are():
    axes = plot_spectrum(None, spectrum()).axes[1]
    assert {text.get_text(): text.get_position()[0] for text in axes.texts} == LINES
    marked = {line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 2}
    assert marked == set(LINES.values())
    # In vacuum, of the grid that spectra of the SDSS are on.
    assert LINES[r"H$\alpha$"] == pytest.approx(6562.8 * 1.000276, abs=0.1)
    assert LINES[r"H$\beta$"] == pytest.approx(4861.33 * 1.000279, abs=0.1)


def test_the_band_is_the_uncertainty():
    (band,) = plot_spectrum(None, spectrum(flux_p16=0.9 * FLUX, flux_p84=1.1 * FLUX)).axes[1].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(1.1 * FLUX.max() / np.median(FLUX))
    assert heights.min() == pytest.approx(0.9 * FLUX.min() / np.median(FLUX))
    assert not plot_spectrum(None, spectrum()).axes[1].collections


def test_others_are_on_their_own_scale_in_colours_of_their_own():
    gappy = 5 * FLUX
    gappy[:500] = np.nan
    observed = spectrum(gappy, ivar=np.where(np.isnan(gappy), 0, 1.0))
    axes = plot_spectrum(PICTURE, spectrum(), others={"observed": observed, "fit": spectrum()}).axes[1]
    lines = {line.get_label(): line for line in axes.lines}
    assert np.isnan(lines["observed"].get_ydata()[:500]).all()
    assert np.nanmedian(lines["observed"].get_ydata()) == pytest.approx(1)
    assert len({to_hex(lines[name].get_color()) for name in ("observed", "fit", "spectrum")}) == 3
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "observed",
        "fit",
        "spectrum",
    ]


def test_a_predicted_spectrum_says_that_it_is_none_that_was_measured():
    predicted = spectrum()
    assert plot_spectrum(None, predicted).get_supxlabel() == ""
    predicted.meta["hifrac"] = {"flux": "photometric template spectrum; no spectrum was measured"}
    figure = plot_spectrum(None, predicted)
    assert "photometric template spectrum; no spectrum was measured" in figure.get_supxlabel()
    (name,) = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert name == "from the picture"


def test_the_axis_of_a_spectrum_may_run_the_other_way():
    import specutils

    plain = spectrum()
    axis = plain.spectral_axis.to(u.THz, u.spectral())
    axes = plot_spectrum(
        None, specutils.Spectrum(flux=plain.flux, spectral_axis=axis), others={"a": plain}
    ).axes[1]
    assert axes.get_xlim() == pytest.approx(tuple(rest_wavelength().value[[0, -1]]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"picture": PICTURE[..., 0]}, r"picture must be of the shape \(h, w, 3\), got \(32, 32\)"),
        ({"picture": PICTURE[:0]}, r"picture must be of the shape \(h, w, 3\), got \(0, 32, 3\)"),
        ({"picture": 2.0 * PICTURE}, "picture must be uint8, or float from 0 to 1, got float64"),
        ({"picture": PICTURE.astype(int)}, "picture must be uint8, or float from 0 to 1, got int64"),
        ({"flux": np.full(1000, np.nan)}, "spectrum has no light"),
        ({"flux": -FLUX}, "spectrum has no light"),
        ({"others": {"star": np.zeros(1000)}}, "others: 'star' has no light"),
    ],
)
def test_bad_input_is_named(arguments, message):
    picture, flux = arguments.get("picture", PICTURE), arguments.get("flux", FLUX)
    others = {name: spectrum(values) for name, values in arguments.get("others", {}).items()}
    with pytest.raises(ValueError, match=message):
        plot_spectrum(picture, spectrum(flux), others=others)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spectrum": FLUX}, "spectrum must be a spectrum of specutils, .*, got ndarray"),
        ({"others": {"star": FLUX}}, "others: 'star' must be a spectrum of specutils"),
        ({"others": [FLUX]}, "others must be spectra by name, a dict, got list"),
    ],
)
def test_what_is_no_spectrum(arguments, message):
    with pytest.raises(TypeError, match=f"^{message}"):
        plot_spectrum(None, **{"spectrum": spectrum(), **arguments})


def test_a_cube_is_not_one_spectrum():
    import specutils

    one = spectrum()
    two = specutils.Spectrum(flux=np.stack([one.flux, one.flux]), spectral_axis=one.spectral_axis)
    with pytest.raises(ValueError, match=r"spectrum must be one spectrum, got shape \(2, 1000\)"):
        plot_spectrum(None, two)
