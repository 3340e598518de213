"""Configuration of the documentation, on the base that Astropy's packages share."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from sphinx_astropy.conf.v2 import *  # noqa: F403
from sphinx_astropy.conf.v2 import (
    exclude_patterns,
    extensions,
    html_theme_options,
    intersphinx_mapping,
    numpydoc_xref_ignore,
)

import hifrac

# What the examples compute is small: threads would wait for each other more than they work. Before NumPy.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

# -- Project -------------------------------------------------------------------

project = "hifrac"
author = "The hifrac developers"
copyright = f"{datetime.now(UTC).year}, {author}"
version = ".".join(hifrac.__version__.split(".")[:2])
release = hifrac.__version__

# -- What is read --------------------------------------------------------------

for unused in (
    "sphinx.ext.inheritance_diagram",
    "sphinx_astropy.ext.generate_config",
    "sphinx_astropy.ext.missing_static",  # looks for _static in the working directory
):
    if unused in extensions:
        extensions.remove(unused)
extensions += ["hifrac_docs"]
# Fragments of the change log; docs/changes/README.rst is for those who write them.
exclude_patterns += ["changes/*", "_ext"]
plot_formats = [("svg", 100)]
plot_html_show_formats = False
plot_html_show_source_link = False

# -- References ----------------------------------------------------------------

# The build must not need a network. HIFRAC_DOCS_INTERSPHINX=1 turns links to
# other projects on; without it they are plain text.
_elsewhere = {
    name: intersphinx_mapping[name] for name in ("astropy", "matplotlib", "numpy", "python", "scipy")
}
_elsewhere["torch"] = ("https://docs.pytorch.org/docs/stable/", None)
_linked = os.environ.get("HIFRAC_DOCS_INTERSPHINX", "") not in ("", "0")
intersphinx_mapping = _elsewhere if _linked else {}

# Every reference into hifrac must resolve; those into other projects cannot
# be checked offline, and are listed by the project they point to.
nitpicky = True
_others = (
    "astropy",
    "click",
    "collections",
    "distributed",
    "ipyaladin",
    "lightning",
    "lsdb",
    "matplotlib",
    "numpy",
    "os",
    "pandas",
    "pathlib",
    "scipy",
    "sklearn",
    "specutils",
    "torch",
    "typing",
    "zipfile",
)
nitpick_ignore_regex = [("py:.*", rf"({'|'.join(_others)})(\..*)?")]
# Type hints and builtins as they stand in signatures.
nitpick_ignore_regex += [
    (
        "py:.*",
        r"(Any|Axes|Callable|ClassVar|Figure|Iterator|Mapping|Path|QTable|Sequence|SkyCoord|Table|Tensor|"
        r"bool|bytes|callable|dict|float|int|list|object|str|tuple|np\.\S+|nn\.\S+|"
        r"AstropyUserWarning|ConfigNamespace|Exception|FileExistsError|FileNotFoundError|ImportError|IntFlag|Protocol|"
        r"NotImplementedError|OSError|RuntimeError|TypeError|ValueError|enum\.\S+)",
    )
]

# A private base is named where its public heir is documented.
nitpick_ignore_regex += [("py:class", r"hifrac\._\S+")]

autodoc_typehints = "none"  # the docstrings say types, shapes and units
autodoc_member_order = "bysource"
autoclass_content = "class"
numpydoc_xref_param_type = False
numpydoc_xref_ignore |= {"array", "shape"}
automodsumm_inherited_members = False

# -- Appearance ----------------------------------------------------------------

_repository = "https://github.com/hifrac/hifrac"
html_title = f"hifrac {release}"
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["hifrac.css"]
html_show_sourcelink = False
templates_path = ["_templates"]
smartquotes_action = "qe"  # no dashes: they would spoil the names of options
html_sidebars = {"**": ["all-pages"]}
html_theme_options = {
    **html_theme_options,
    "logo": {"text": f"hifrac {release}", "alt_text": "hifrac"},
    "icon_links": [
        {"name": "Repository", "url": _repository, "icon": "fa-brands fa-github"},
        {"name": "Issues", "url": f"{_repository}/issues", "icon": "fa-solid fa-circle-exclamation"},
        {
            "name": "To cite",
            "url": f"{_repository}/blob/main/CITATION.cff",
            "icon": "fa-solid fa-quote-right",
        },
    ],
    "navbar_center": [],
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

# -- Gallery -------------------------------------------------------------------

extensions += ["sphinx_gallery.gen_gallery", "gallery_figures"]
exclude_patterns += ["gallery", "sg_execution_times.rst", "examples/**/sg_execution_times.rst"]
# The papers' scripts need the real data; without them their code is shown and not run, and their figures are
# those of docs/gallery_figures. Three are about published numbers, for want of a catalogue.
_without_data = r"gallery/((tutorials/)?[a-z0-9_]+|paper/(fig06|fig07|table3))\.py$"
_run = r"\.py$" if os.environ.get("HIFRAC_DATA_DIR") else _without_data
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    "filename_pattern": _run,
    "subsection_order": [f"gallery/{part}" for part in ("tutorials", "paper", "wu2019", "wupeek2020")],
    "within_subsection_order": "hifrac_docs.GalleryOrder",
    "download_all_examples": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "plot_gallery": True,
    "abort_on_example_error": True,
    "image_scrapers": ("matplotlib", "hifrac_docs.save_last_figure"),
    "ignore_repr_types": r"matplotlib\.figure",
    "parallel": True,  # as many scripts at once as sphinx-build -j says
    "reset_modules": ("matplotlib", "hifrac_docs.let_spawn"),
    "default_thumb_file": str(Path(__file__).parent / "_static" / "in_and_out.png"),
    "doc_module": ("hifrac",),
    "backreferences_dir": None,
    "reference_url": {"hifrac": None},
}
