"""Which catalogues there are, and where each comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Catalog:
    """One catalogue: its files, the service that has it, what to cite.

    Attributes
    ----------
    name : str
        The name of the function that reads it.
    title : str
        What it is.
    files : tuple of str
        Its files in ``catalogs/`` of the data directory, as published.
    service : str
        "VizieR", "SkyServer SQL", or "" if the user has to fetch it.
    address : str
        Its identifier with that service, or where to find it.
    rows : int
        Published number of rows; 0 if it depends on the query.
    reference : str
        What to cite.
    bibcode : str
        Its bibcode.
    """

    name: str
    title: str
    files: tuple[str, ...]
    service: str
    address: str
    rows: int
    reference: str
    bibcode: str

    @property
    def kept(self) -> str:
        """The file under which what a service answered is kept, beside `files`; {} is a table's number."""
        service = "vizier" if self.service == "VizieR" else "sdss"
        return f"{self.name}_{service}{{}}.fits"

    @property
    def command(self) -> str:
        """What to type to fetch it."""
        return f"hifrac catalogs fetch {self.name}"


#: The catalogues by name.
CATALOGS = {
    catalog.name: catalog
    for catalog in (
        Catalog(
            "alfalfa_a40",
            "ALFALFA alpha.40, HI sources and their SDSS DR7 counterparts",
            ("alfalfa_a40_datafile1.csv", "alfalfa_a40_datafile3.csv"),
            "VizieR",
            "J/AJ/142/170",
            15855,
            "Haynes et al. 2011, AJ 142, 170",
            "2011AJ....142..170H",
        ),
        Catalog(
            "alfalfa_a100",
            "ALFALFA alpha.100, the complete survey",
            ("alfalfa_a100_190808.csv",),
            "VizieR",
            "J/ApJ/861/49",
            31502,
            "Haynes et al. 2018, ApJ 861, 49",
            "2018ApJ...861...49H",
        ),
        Catalog(
            "durbala2020",
            "ALFALFA-SDSS: optical counterparts and three stellar masses",
            ("durbala2020_table1.dat.gz", "durbala2020_table2.dat.gz", "durbala2020_ReadMe.txt"),
            "VizieR",
            "J/AJ/160/271",
            31501,
            "Durbala et al. 2020, AJ 160, 271",
            "2020AJ....160..271D",
        ),
        Catalog(
            "xgass",
            "xGASS, the representative sample",
            ("xgass_representative_sample.fits",),
            "VizieR",
            "J/MNRAS/476/875",
            1179,
            "Catinella et al. 2018, MNRAS 476, 875",
            "2018MNRAS.476..875C",
        ),
        Catalog(
            "nibles",
            "NIBLES, the detections with a stellar mass",
            ("nibles_clean.csv",),
            "VizieR",
            "J/A+A/595/A118",
            1621,
            "van Driel et al. 2016, A&A 595, A118",
            "2016A&A...595A.118V",
        ),
        Catalog(
            "mpa_jhu",
            "MPA-JHU galaxies of SDSS DR7: stellar masses, star formation, metallicity",
            ("mpa_jhu.fits",),
            "SkyServer SQL",
            "galSpecInfo, galSpecExtra",
            0,
            "Kauffmann et al. 2003, MNRAS 341, 33; Brinchmann et al. 2004, MNRAS 351, 1151; "
            "Tremonti et al. 2004, ApJ 613, 898; Salim et al. 2007, ApJS 173, 267",
            "2004MNRAS.351.1151B",
        ),
        Catalog(
            "wu2019",
            "The galaxies of Wu & Boada (2019): oxygen abundances of MPA-JHU, photometry, lines",
            ("wu2019.fits",),
            "SkyServer SQL",
            "GalSpecExtra, GalSpecLine, GalSpecIndx, Galaxy, SpecObj",
            0,
            "Wu & Boada 2019, MNRAS 484, 4683; Tremonti et al. 2004, ApJ 613, 898",
            "2019MNRAS.484.4683W",
        ),
        Catalog(
            "nsa",
            "NASA-Sloan Atlas",
            ("nsa_v1_0_1.fits", "nsa_v0_1_2.fits"),
            "",
            "https://data.sdss.org/sas/dr17/sdss/atlas/v1/nsa_v1_0_1.fits",
            0,
            "Blanton et al. 2011, AJ 142, 31",
            "2011AJ....142...31B",
        ),
        Catalog(
            "teimoorinia2017",
            "HI mass fractions estimated by artificial neural networks",
            ("teimoorinia2017.fits",),
            "VizieR",
            "J/MNRAS/464/3796",
            0,
            "Teimoorinia, Ellison & Patton 2017, MNRAS 464, 3796",
            "2017MNRAS.464.3796T",
        ),
        Catalog(
            "resolve",
            "RESOLVE: HI masses and limits of a volume-limited survey",
            ("resolve_labels.ecsv",),
            "VizieR",
            "J/ApJ/832/126",
            0,
            "Stark et al. 2016, ApJ 832, 126; Eckert et al. 2015, ApJ 810, 166",
            "2016ApJ...832..126S",
        ),
        Catalog(
            "tmrs",
            "2MASS Redshift Survey: positions and velocities, whole sky",
            ("2mrs_radec_cz.csv",),
            "VizieR",
            "J/ApJS/199/26",
            43533,
            "Huchra et al. 2012, ApJS 199, 26",
            "2012ApJS..199...26H",
        ),
    )
}
