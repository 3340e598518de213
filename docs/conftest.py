"""What the test run leaves alone here: the files that only Sphinx can import."""

collect_ignore = ["_ext", "conf.py"]
