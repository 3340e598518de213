"""``python -m hifrac``: the command ``hifrac``."""

from hifrac.cli import main

main(prog_name="hifrac")
