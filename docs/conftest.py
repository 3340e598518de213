"""What the test run leaves alone here: what only Sphinx can import, and the scripts that it runs."""

collect_ignore = ["_ext", "conf.py", "examples", "gallery", "plots"]
