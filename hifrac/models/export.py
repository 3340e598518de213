"""A model written out as a folder: its card, its weights, and the files that other programs load."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from hifrac.core.files import file_sha256, write_whole
from hifrac.models.cards import ModelCard
from hifrac.models.hub import model_page
from hifrac.models.registry import load_model


def export_model(
    model: str | PathLike[str],
    output: str | PathLike[str],
    *,
    formats: Sequence[str] = ("torchscript",),
    hub: bool = False,
) -> ModelCard:
    """Write a model as a folder that `load_model` takes.

    Parameters
    ----------
    model : str or path-like
        The name of a bundled model, or its folder.
    output : path-like
        The folder to make. It must not exist, or be empty.
    formats : sequence of {"safetensors", "torchscript", "export"}, optional
        What is written beside ``card.json``. ``"safetensors"``: the weights,
        ``weights.safetensors``; they are the model, and written in any case.
        ``"torchscript"``: ``model.pt``, for `load_model` and for C++, of any
        PyTorch from 2.8 on. ``"export"``: ``model.pt2``, for programs that take a
        graph of `torch.export`, for any number of pictures of the recipe's width;
        a PyTorch older than the one that wrote it may refuse it. `load_model` has no
        use for it: PyTorch may unpickle what is in such a file.
    hub : bool, optional
        Whether the folder is for the Hugging Face Hub, or any place that ``load_model`` fetches from: with
        ``README.md``, a model card as the hub has them, and with the weights alone, whatever the formats.

    Returns
    -------
    card : `ModelCard`
        The card as written: with the sha256 of the new files.

    Raises
    ------
    ValueError
        If a format is unknown, or ``formats`` is no sequence of them.
    FileExistsError
        If ``output`` is a file, or a folder with anything in it.
    ~hifrac.core.UnknownModelError
        If there is no such model.
    ~hifrac.core.ModelError
        If it cannot be loaded.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from hifrac.models import export_model
    >>> with TemporaryDirectory() as folder:
    ...     card = export_model("default", folder, formats=["safetensors"])
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['card.json', 'weights.safetensors']
    """
    from hifrac.models import _artifact

    if isinstance(formats, str):
        raise ValueError(f"formats must be a sequence of names, got the text {formats!r}")
    if unknown := [name for name in formats if name not in _artifact.FORMATS]:
        raise ValueError(f"formats must be of {', '.join(_artifact.FORMATS)}; got {unknown[0]!r}")
    formats = () if hub else formats
    folder = Path(output)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"output: {folder} exists already and is not an empty folder")
    loaded = load_model(model, device="cpu", runtime="eager")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Made whole beside its place, then moved there: no half a model is ever found under that name.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
        staged = Path(name) / "model"
        recipe = loaded.card.recipe
        files = _artifact.save(
            loaded.network, staged, formats=formats, width=recipe.width, n_channels=len(recipe.bands)
        )
        card = replace(loaded.card, files=files)
        path = card.write(staged)
        if hub:
            write_whole(staged / "README.md", model_page(card, file_sha256(path)))
        if folder.is_dir():
            folder.rmdir()
        staged.rename(folder)
    return card
