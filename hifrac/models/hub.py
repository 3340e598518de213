"""Models from the network: a card whose sha256 is known beforehand, and weights whose sha256 the card has."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from hifrac.core.config import cache_dir, conf
from hifrac.core.exceptions import ModelError, ModelIntegrityError, ServiceError
from hifrac.core.files import file_sha256, write_whole
from hifrac.models.cards import FILE_NAME, ModelCard

_WEIGHTS = "weights.safetensors"

#: Bytes that are read at most of each file: weights of 500 million numbers.
_MOST = {FILE_NAME: 2**26, _WEIGHTS: 2**31}

_HUB = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+)")


def is_address(model: object) -> bool:
    """Return whether the name of a model is an address on the network."""
    return isinstance(model, str) and model.lower().startswith(("hf://", "https://", "http://"))


def require_digest(path: Path, sha256: str) -> None:
    """Refuse a card that is not the one that is wanted, by a ModelIntegrityError."""
    _require_same(file_sha256(path), _checked_digest(sha256), str(path))


def fetched(address: str, sha256: str | None = None) -> Path:
    """Return the folder of a model from the network, fetched if it is not in the local store.

    Parameters
    ----------
    address : str
        ``hf://OWNER/NAME@REVISION`` of the Hugging Face Hub, or ``https://`` of a folder that has
        ``card.json`` and ``weights.safetensors``. ``#sha256=...`` may follow.
    sha256 : str, optional
        That of ``card.json``, if it is not in the address.

    Returns
    -------
    folder : pathlib.Path
        Below `hifrac.core.cache_dir`; with the card and the weights, and nothing else.

    Raises
    ------
    ValueError
        If the address is none of these, or there is no sha256, or two that differ.
    ModelIntegrityError
        If another card comes, or other weights than the card's.
    ModelError
        If the card is none; or with ``conf.offline``, if the model is not in the store.
    ServiceError
        If the service gives no file.
    ImportError
        If huggingface_hub is needed, and not installed.
    """
    place, _, fragment = address.partition("#")
    read = _reader(place)
    digest = _wanted_digest(place, fragment, sha256)
    folder = cache_dir() / "models" / digest
    if _is_whole(folder, digest):
        return folder
    if conf.offline:
        raise ModelError(f"model: offline, and {place} is not in the local store {folder.parent}")
    text = read(FILE_NAME)
    _require_same(hashlib.sha256(text).hexdigest(), digest, f"{FILE_NAME} of {place}")
    try:
        card = ModelCard.from_json(text.decode())
    except (ModelError, UnicodeDecodeError) as error:
        raise ModelError(f"{place}: {error}") from error
    weights = read(_WEIGHTS)
    _require_same(hashlib.sha256(weights).hexdigest(), card.sha256, f"{_WEIGHTS} of {place}")
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / _WEIGHTS, weights)
    write_whole(folder / FILE_NAME, text.decode())
    return folder


def model_page(card: ModelCard, sha256: str) -> str:
    """Return a model card in the form of the Hugging Face Hub: facts for its search, and text for people.

    Parameters
    ----------
    card : ModelCard
        The facts.
    sha256 : str
        That of ``card.json`` as it lies beside.
    """
    facts = "\n".join(f"| {label} | {_cell(value)} |" for label, value in card._facts().items())
    references = "\n".join(f"* {reference}" for reference in card.references)
    return f"""---
license: {json.dumps(card.licence.lower())}
library_name: hifrac
tags: [astronomy, galaxies, {json.dumps(card.target_column)}]
---

# {card.name}

{card.summary}

```python
from hifrac import load_model

model = load_model(
    "hf://OWNER/NAME@REVISION",  # of this repository, and the commit
    sha256="{sha256}",
)
```

The sha256 is that of `card.json`, which has that of the weights. No other file is fetched,
and nothing is executed.

| | |
|---|---|
{facts}

To cite:

{references}
"""


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def _wanted_digest(place: str, fragment: str, sha256: str | None) -> str:
    """Return the digest that stands behind an address or beside it."""
    given = fragment.removeprefix("sha256=") if fragment else sha256
    if given is None:
        raise ValueError(
            f"sha256: {place} is loaded only if the sha256 of its {FILE_NAME} is given, by this parameter or "
            "as #sha256=... behind the address; who publishes the model says it"
        )
    digest = _checked_digest(given)
    if sha256 is not None and _checked_digest(sha256) != digest:
        raise ValueError(f"sha256: {place} names another one, {digest}, than {sha256!r}")
    return digest


def _checked_digest(sha256: str) -> str:
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256.lower()):
        raise ValueError(f"sha256 must be 64 hexadecimal digits, got {sha256!r}")
    return sha256.lower()


def _require_same(digest: str, wanted: str, what: str) -> None:
    if digest != wanted:
        raise ModelIntegrityError(
            f"model: {what} is not what was asked for (sha256 {digest}, wanted {wanted}); "
            "nothing of it was loaded"
        )


def _is_whole(folder: Path, digest: str) -> bool:
    """Return whether a model is in the store as it should be; what was damaged is fetched again."""
    try:
        return (
            file_sha256(folder / FILE_NAME) == digest
            and file_sha256(folder / _WEIGHTS) == ModelCard.read(folder).sha256
        )
    except (OSError, ModelError):
        return False


def _reader(place: str) -> Callable[[str], bytes]:
    """Return what reads a file of a model by its name; a ValueError if the address is none."""
    if match := _HUB.fullmatch(place):
        return partial(_from_hub, match["repository"], match["revision"])
    if place.startswith("hf://"):
        raise ValueError(f"model must be hf://OWNER/NAME@REVISION, got {place!r}")
    try:
        parts = urlsplit(place)
        is_public = parts.scheme == "https" and parts.hostname and parts.port != 0
    except ValueError:  # whose text may be a part of a password
        raise ValueError("model must be an address by https; the host or port of this one is none") from None
    if not is_public or "@" in parts.netloc or parts.query:
        # Without the name, password and query, which may be secrets.
        address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise ValueError(f"model must be an address by https, without name or query, got {address!r}")
    return partial(_from_web, place.rstrip("/"))


def _from_hub(repository: str, revision: str, name: str) -> bytes:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise ImportError("hf:// needs huggingface_hub: pip install 'hifrac[hub]'") from error
    # Not its cache: the files would be kept twice.
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = Path(hf_hub_download(repository, name, revision=revision, local_dir=folder))
        except Exception as error:  # of several libraries
            text = " ".join(str(error).split())
            raise ServiceError(f"no {name} of hf://{repository}@{revision}: {text}") from error
        _require_size(path.stat().st_size, name)
        return path.read_bytes()


def _from_web(place: str, name: str) -> bytes:
    from hifrac.core.retry import ask_patiently

    return ask_patiently(partial(_get, f"{place}/{name}", name))


def _get(url: str, name: str) -> bytes:
    """Return what an address answers; every step of a redirect must be by https."""
    import requests

    from hifrac.core.retry import retry_after

    data = bytearray()
    try:
        with requests.get(url, timeout=conf.timeout, stream=True) as response:
            steps = [step.url for step in (*response.history, response)]
            if not all(step.startswith("https://") for step in steps):
                raise ModelError(f"model: {url} leads to {steps[-1]}, which is not by https")
            if response.status_code != requests.codes.ok:
                text = f"no {name}: {url} answered {response.status_code} {response.reason}"
                asked = retry_after(response.headers)
                raise ServiceError(text, url=url, status=response.status_code, retry_after=asked)
            for part in response.iter_content(2**20):
                data += part
                _require_size(len(data), name)
    except requests.RequestException as error:
        raise ServiceError(f"no {name}: {url} gave no complete answer: {error}", url=url) from error
    return bytes(data)


def _require_size(size: int, name: str) -> None:
    if size > _MOST[name]:
        raise ModelError(f"model: {name} is longer than {_MOST[name]} bytes")
