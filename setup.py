"""What pyproject.toml cannot say: README needs whole addresses outside the repository."""

import re
from pathlib import Path

from setuptools import setup

_HERE = Path(__file__).parent
(_VERSION,) = re.findall(r'^__version__ = "(.+)"$', (_HERE / "hifrac/__init__.py").read_text("utf-8"), re.M)
_TAG = "HEAD" if "dev" in _VERSION else f"v{_VERSION}"
_RAW, _BLOB = "https://raw.githubusercontent.com/hifrac/hifrac", "https://github.com/hifrac/hifrac/blob"

text = (_HERE / "README.md").read_text("utf-8")
text = re.sub(r'(!\[[^]]*\]\(|<img src=")(?!https:)', rf"\g<1>{_RAW}/{_TAG}/", text)
text = re.sub(r"\]\((?!https:)", f"]({_BLOB}/{_TAG}/", text)
setup(long_description=text, long_description_content_type="text/markdown")
