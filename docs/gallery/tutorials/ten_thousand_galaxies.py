"""
Ten thousand galaxies, politely
===============================

**Objective:** fetch the pictures of a long table without being a burden, resume, and estimate it in parts.
**Data:** *simulated* galaxies; a small HTTP server on this computer stands in place of SkyServer.

A public service is shared. At the ten requests a second that the package allows itself, ten thousand pictures
take 17 minutes, and nobody is disturbed. What makes such a run harmless and complete is shown here on 240
rows: a limited rate, a service that asks to be left alone, failures, a second run that asks for nothing but
what is missing, and parts that survive the end of their process.
"""

# %%
# The stand-in for a survey
# -------------------------
# One position is outside its survey, one fails for now, and once it asks for a second of rest. SkyServer
# needs no such cell.
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
from astropy.table import Table

from hifrac.demo import PICTURES, sample_table

n = 240
rng = np.random.default_rng(3)
names = np.resize(sample_table()["name"][:24], n)
galaxies = Table({"objid": np.arange(n), "ra": rng.uniform(150, 200, n), "dec": rng.uniform(0, 40, n)})
galaxies["ra"].unit = galaxies["dec"].unit = "deg"
files = {name: (PICTURES / f"{name}.jpg").read_bytes() for name in set(names)}
pictures = {f"{ra:.6f}": files[name] for ra, name in zip(galaxies["ra"], names, strict=True)}
(outside, failing, *_), times, is_troubled = pictures, [], True


class Survey(BaseHTTPRequestHandler):
    def do_GET(self):
        ra = parse_qs(urlsplit(self.path).query)["ra"][0]
        times.append(time.monotonic())
        if len(times) == 120:
            self.send_response(429)
            self.send_header("Retry-After", "1")
            self.end_headers()
        elif ra == outside:
            self.send_error(404, "Requested (ra, dec) is outside the SDSS footprint")
        elif ra == failing and is_troubled:
            self.send_error(500)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(pictures[ra])

    def log_message(self, *words): ...


server = ThreadingHTTPServer(("127.0.0.1", 0), Survey)
threading.Thread(target=server.serve_forever, daemon=True).start()

# %%
# Fetch
# -----
# Where the store is and how fast it asks: both have defaults (:doc:`/configuration`), the rate one of 10 per
# second, and here 80, for nobody is disturbed. First look what would be asked:
import os
from tempfile import TemporaryDirectory

from hifrac import SkyServerCutouts, conf

folder = TemporaryDirectory()
before = os.environ.pop("HIFRAC_CACHE_DIR", "")  # where it is set, it has the last word
conf.cache_dir, conf.max_rate, conf.retries, conf.retry_backoff = folder.name, 80, 1, 0.1
address = f"http://127.0.0.1:{server.server_port}/{{data_release}}/getjpeg"
source = SkyServerCutouts(base_url=address)
source.payload(galaxies["ra"][2], galaxies["dec"][2])

# %%
# :func:`~hifrac.cutouts.download`, or ``hifrac fetch``, fills the store and says of each row whether its
# picture is there.
from collections import Counter

from hifrac import HIFractionEstimator, decode_flags, predict_parts
from hifrac.cutouts import download

report = download(galaxies, source)
first_run = np.array(times) - times[0]
counts = Counter(name for names in decode_flags(report["flags"]) for name in names)
print(len(first_run), "requests:", counts)

# %%
# How the service saw it: requests evenly spaced, and none while it wanted to be left alone.
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
axes.step(first_run, np.arange(1, len(first_run) + 1), where="post")
axes.plot(first_run[119], 120, "o", label="429, Retry-After: 1")
axes.set(xlabel="time, s", ylabel="requests", title="What the service was asked")
axes.legend()
plt.show()

# %%
# Resume
# ------
# The service has recovered. The same call asks for what is missing inside the survey, and for nothing else.
# What was found outside the survey stays so.
is_troubled, n_asked = False, len(times)
report = download(galaxies, source)
print(len(times) - n_asked, "request:", *filter(None, decode_flags(report["flags"])))

# %%
# Estimate in parts
# -----------------
# Each part is on the disk before the next is begun. This run ends after half of them, as if it had been
# killed; the service is gone as well, for everything is in the store.
from pathlib import Path

from hifrac.core import read_table

server.shutdown()
server.server_close()
estimator = HIFractionEstimator(cutouts=SkyServerCutouts(base_url=address, offline=True))
parts = Path(folder.name) / "parts"
predict_parts(galaxies, parts, estimator=estimator, rows_per_part=60, part=(0, 2))
report = predict_parts(galaxies, parts, estimator=estimator, rows_per_part=60, resume=True)
report["part", "n_rows", "n_estimated", "is_new"]

# %%
# The folder is one table. On the command line it is ``hifrac predict big.parquet -o parts --rows-per-part
# 20000 --resume`` (:doc:`/large_tables`).
result = read_table(parts)
conf.reset()
os.environ |= {"HIFRAC_CACHE_DIR": before} if before else {}
folder.cleanup()
print(f"{len(result)} rows, in order: {bool(np.all(result['objid'] == galaxies['objid']))}")
result["objid", "log_hi_fraction", "flags"][:4]

# %%
# What to beware of
# -----------------
# * *Try a hundred rows first*: a wrong column or survey costs the service as much as a right one.
# * *Several computers, one service*: the rate is that of one computer. Divide it by their number.
# * *A million is another matter.* That is 28 hours: ask the archive, or get the images in bulk and cut them
#   locally (:doc:`/scale`).
# * *A row without a picture is a row.* It is in the result, masked and flagged; with ``FETCH_FAILED`` it may
#   come with the next run (:doc:`/fetching_many`).
