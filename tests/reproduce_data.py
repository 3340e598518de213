"""A small data directory with the held-out answers of a model, whose figures can be computed otherwise."""

import zipfile

import numpy as np
from astropy import units as u
from astropy.table import MaskedColumn, Table
from pictures import encode, galaxy, jpeg_of
from spec_files import spec_file

from hifrac.models.spectrum_table import LATENTS, RATIOS
from hifrac.reproduce._inputs import CONTINUA
from hifrac.spectra import rest_wavelength

N, UNDETECTED, BEYOND = 60, 40, 12
LIMITS = 5
#: Of the galaxies with spectra: pictures, held-out answers, of these with lines, and of these with continua.
SEEN, WITH_LINES, WITH_CONTINUA = 40, 30, 20
PAIRS = 3


def identifiers(start, n):
    return [str(1237648674510730000 + start + number) for number in range(n)]


def write_data(folder, model, pictures=False):
    """60 labelled galaxies, 12 beyond ALFALFA (5 of them limits); answers for these and for 40 undetected."""
    rng = np.random.default_rng(3)
    (folder / "cutouts").mkdir(parents=True)
    (folder / "catalogs").mkdir()
    model.mkdir(parents=True)
    truth = rng.normal(0, 0.5, N)
    labels = Table({"objid": identifiers(0, N)})
    labels["ra"] = rng.uniform(150, 220, N) * u.deg
    labels["dec"] = rng.uniform(5, 15, N) * u.deg
    labels["v_helio"] = rng.uniform(3000, 12000, N) * u.km / u.s
    labels["log_hi_fraction_true"] = truth * u.dex
    labels["log_mstar_taylor"] = 9.5 - truth
    labels["g_minus_i"] = 0.8 - 0.4 * truth
    labels["axial_ratio"] = rng.uniform(0.2, 1, N)
    labels.write(folder / "cutouts" / "hi_labels.ecsv")
    deeper = Table({"objid": identifiers(200, BEYOND)})
    deeper["log_hi_fraction_true"] = rng.normal(-1, 0.4, BEYOND)
    deeper["is_limit"] = np.arange(BEYOND) < LIMITS
    deeper["alfalfa_detected"] = False
    deeper.add_row([labels["objid"][0], truth[0], False, True])
    deeper.write(folder / "cutouts" / "resolve_labels.ecsv")
    total = N + UNDETECTED + BEYOND
    answers = Table({"objid": identifiers(0, N) + identifiers(100, UNDETECTED) + identifiers(200, BEYOND)})
    place = np.arange(total)
    answers["detected"], answers["undetected"] = place < N, place >= N
    answers["gas_poor"] = place >= N + UNDETECTED
    answers["is_limit"] = answers["gas_poor"] & (place < N + UNDETECTED + LIMITS)
    answers["fold"] = place % 5
    estimate = np.full(total, np.nan)
    estimate[:N] = 0.8 * truth + rng.normal(0, 0.15, N)
    estimate[N + UNDETECTED :] = deeper["log_hi_fraction_true"][:BEYOND] + rng.normal(0.3, 0.2, BEYOND)
    answers["log_hi_fraction"] = estimate
    answers["p_detect"] = np.clip(np.where(place < N, 0.8, 0.3) + rng.normal(0, 0.2, total), 0, 1)
    answers.meta["command"] = "hifrac train default"
    # Another order than the labels': rows are joined by identifier, never by place.
    answers[rng.permutation(total)].write(model / "out_of_fold.ecsv")
    if pictures:
        with zipfile.ZipFile(folder / "cutouts" / "sdss_cutouts.zip", "w") as archive:
            for number, name in enumerate(labels["objid"]):
                archive.writestr(f"{name}.jpg", encode(galaxy(number)))
    return labels, deeper, answers


def write_metallicities(folder, model):
    """60 galaxies with a metallicity, 50 of them with photometry, and the answers of a model."""
    rng = np.random.default_rng(4)
    mass = rng.uniform(8.8, 11, N)
    truth = -1.492 + 1.847 * mass - 0.08026 * mass**2 + rng.normal(0, 0.1, N)
    labels = Table({"objid": identifiers(0, N), "oh_p50": truth})
    for ending, error in (("", 0.05), ("_64", 0.06), ("_32", 0.07), ("_16", 0.08)):
        labels[f"wu_boada_2019_prediction{ending}"] = truth + rng.normal(0, error, N)
    labels.write(folder / "cutouts" / "metallicity_labels.ecsv")
    photometry = Table({"objid": identifiers(0, N), "redshift": rng.uniform(0.02, 0.2, N)})
    for place, band in enumerate("ugriz"):
        photometry[f"M_{band}"] = -2 * (mass + 0.3 * place) + rng.normal(0, 0.2, N)
        photometry[f"modelmag_{band}"] = photometry[f"M_{band}"] + 38
    photometry["log_mstar_taylor"] = mass
    photometry["subclass"] = "STARFORMING"
    photometry[10:].write(folder / "cutouts" / "photometry_labels.ecsv")
    model.mkdir(parents=True)
    answers = Table({"objid": identifiers(0, N), "fold": np.arange(N) % 5, "oh_p50": truth})
    answers["oh"] = truth + rng.normal(0, 0.1, N)
    estimate = truth + rng.normal(0, 0.08, N)
    answers["oh_z_photometry"] = MaskedColumn(estimate, mask=np.arange(N) < 10)
    answers["oh_z_photometry_p16"] = answers["oh_z_photometry"] - 0.1
    answers.meta["command"] = "hifrac train metallicity"
    answers[rng.permutation(N)].write(model / "out_of_fold.ecsv")
    return labels, photometry, answers


def write_spectra(folder, model):
    """60 pictures, 40 with held-out spectra, 30 with lines, 20 with continua; three pairs; bases; spectra."""
    rng = np.random.default_rng(6)
    colour = np.linspace(0.3, 0.9, N)
    names = identifiers(0, N)
    with zipfile.ZipFile(folder / "cutouts" / "sdss_cutouts.zip", "w") as archive:
        for row, name in enumerate(names):
            picture = jpeg_of(row, i_mag=15.5 + row % 3, g_minus_r=colour[row], axial_ratio=0.8)
            archive.writestr(f"{name}.jpg", picture)
    Table({"objid": names}).write(folder / "cutouts" / "index.ecsv")
    colour = colour[:SEEN]
    answers = Table({"objid": names[:SEEN], "fold": np.arange(SEEN) % 5})
    answers["has_lines"] = np.arange(SEEN) < WITH_LINES
    truths = {"h_alpha_ew": 60 * np.exp(-5 * colour), RATIOS[0]: 0.3 - colour, RATIOS[1]: 0.2 - 0.4 * colour}
    for name, truth in truths.items():
        truth = truth + rng.normal(0, 0.005, SEEN)
        answers[f"measured_{name}"] = np.where(answers["has_lines"], truth, np.nan)
        answers[name] = truth + rng.normal(0, 0.01, SEEN)
        answers[f"{name}_p16"], answers[f"{name}_p84"] = answers[name] - 0.05, answers[name] + 0.05
    for place, name in enumerate(LATENTS):
        answers[f"template_{name}"] = 0.3 * (colour - 0.6) * (place == 0)
        answers[name] = answers[f"template_{name}"] + rng.normal(0, 0.005, SEEN)
    answers.meta["command"] = "hifrac train spectra"
    model.mkdir(parents=True)
    answers[rng.permutation(SEEN)].write(model / "out_of_fold.ecsv")
    lines = Table({"objid": names[:WITH_CONTINUA]})
    for name, wave in CONTINUA.items():
        lines[f"{name}_cont"] = 10 + 0.001 * wave * colour[:WITH_CONTINUA]
    lines["oi_6300_cont"][3] = -1.0
    lines.write(folder / "cutouts" / "line_labels.ecsv")
    (folder / "spectra" / "legacy_pairs").mkdir(parents=True)
    for row in range(PAIRS):
        path = folder / "spectra" / "legacy_pairs" / names[row]
        path.with_suffix(".jpeg").write_bytes(encode(galaxy(row, 256)))
        path.with_suffix(".fits").write_bytes(spec_file(FIBERID=row + 1))
    wave = rest_wavelength().value / 6000
    bases = {f"spEigenGal_{mjd}": wave ** np.arange(4)[:, None] for mjd in (53724, 55686, 55740)}
    bases |= {name: wave ** np.arange(5)[:, None] for name in ("kcorrect5", "redrock5")}
    np.savez(folder / "spectra" / "galaxy_spectral_bases.npz", **bases)
    flux = 1 + rng.uniform(0, 1, (9, 1)) * wave + rng.normal(0, 0.02, (9, len(wave)))
    ivar = np.full(flux.shape, 2500.0)
    ivar[:5, :10] = 0
    np.savez(folder / "spectra" / "real_sdss_galaxy_spectra.npz", flux=flux, ivar=ivar)
    return answers, lines
