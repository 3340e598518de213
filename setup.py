"""What pyproject.toml cannot say: outside the repository, the pictures of README need whole addresses."""

import re
from pathlib import Path

from setuptools import setup

_HERE = Path(__file__).parent
(_VERSION,) = re.findall(r'^__version__ = "(.+)"$', (_HERE / "hifrac/__init__.py").read_text("utf-8"), re.M)
_FILES = f"https://raw.githubusercontent.com/hifrac/hifrac/{'HEAD' if 'dev' in _VERSION else f'v{_VERSION}'}/"

setup(
    long_description=re.sub(
        r'(!\[[^]]*\]\(|<img src=")(?!https:)', rf"\g<1>{_FILES}", (_HERE / "README.md").read_text("utf-8")
    ),
    long_description_content_type="text/markdown",
)
