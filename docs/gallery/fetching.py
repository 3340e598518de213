"""
Fetching pictures politely
==========================

**Objective:** fill the local store from a survey's service, resume, see what failed, go on offline.
**Data:** *simulated* galaxies; a small HTTP server on this computer stands in place of SkyServer.
"""

# %%
# The stand-in: one of ten positions is outside its survey, one fails for now. SkyServer needs no such cell.
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from hifrac.demo import PICTURES, sample_table

galaxies = sample_table()[:10]
pictures = {f"{one['ra']:.6f}": (PICTURES / f"{one['name']}.jpg").read_bytes() for one in galaxies}
(outside, failing, *_), asked, troubled = pictures, [], True


class Survey(BaseHTTPRequestHandler):
    def do_GET(self):
        ra = parse_qs(urlsplit(self.path).query)["ra"][0]
        asked.append(ra)
        if ra == outside:
            self.send_error(404, "Requested (ra, dec) is outside the SDSS footprint")
        elif ra == failing and troubled:
            self.send_error(500)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(pictures[ra])

    def log_message(self, *words): ...


server = ThreadingHTTPServer(("127.0.0.1", 0), Survey)
threading.Thread(target=server.serve_forever, daemon=True).start()

# %%
# Where the store is and how fast it asks: both have defaults (:doc:`/configuration`). What it would ask:
import os
from tempfile import TemporaryDirectory

from hifrac import SkyServerCutouts, conf

folder = TemporaryDirectory()
before = os.environ.pop("HIFRAC_CACHE_DIR", "")  # where it is set, it has the last word
conf.cache_dir, conf.max_rate, conf.retries, conf.retry_backoff = folder.name, 20, 1, 0.1
address = f"http://127.0.0.1:{server.server_port}/{{data_release}}/getjpeg"
source = SkyServerCutouts(base_url=address)
source.payload(galaxies["ra"][2], galaxies["dec"][2])

# %%
# :func:`~hifrac.cutouts.download` fills the store and says of each row whether its picture is there.
from hifrac import HIFractionEstimator, decode_flags
from hifrac.cutouts import download

report = download(galaxies, source)
print(len(asked), "requests:", *decode_flags(report["flags"]))

# %%
# Every attempt is in the store, in plain SQLite files. The repeats are there as well.
import sqlite3
from collections import Counter
from pathlib import Path

attempts = Counter()
for path in Path(folder.name).rglob("*.sqlite"):
    record = sqlite3.connect(path)
    attempts.update(record.execute("SELECT outcome, status FROM attempts"))
    record.close()
print(*attempts.items(), sep="\n")

# %%
# **Resume.** The service has recovered. The same call asks for what is missing inside the survey only.
troubled, asked = False, []
report = download(galaxies, source)
print(len(asked), "request:", *decode_flags(report["flags"]))

# %%
# **Offline.** With the service gone, estimates come from the store. More on :doc:`/fetching_many`.
server.shutdown()
server.server_close()
result = HIFractionEstimator(cutouts=SkyServerCutouts(base_url=address, offline=True)).predict(galaxies)
conf.reset()
os.environ |= {"HIFRAC_CACHE_DIR": before} if before else {}
folder.cleanup()
result["name", "log_hi_fraction", "flags"][:5]
