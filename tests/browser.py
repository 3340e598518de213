"""Pages in a real browser, from the file system: a script looks at one and says what it saw."""

import base64
import hashlib
import json
import re
import shutil
import subprocess

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this computer")

_RUN = """
window.addEventListener("load", () => {{
  const seen = (() => {{ {} }})();
  const out = document.createElement("pre");
  out.id = "seen"; out.textContent = JSON.stringify(seen);
  document.body.append(out);
}});
"""


def look_at(page, script, folder, *, width=1280):
    """Open a page and run the body of a function of JavaScript in it, after all pictures are there.

    Returns what the function returned, and what the browser had to complain of on its console.
    """
    code = _RUN.format(script)
    # Pictures further down wait to be scrolled to, and a test does not scroll.
    text = page.read_text(encoding="utf-8").replace('loading="lazy" ', "")
    if "script-src " in text:  # the page's policy allows its own script only
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        text = text.replace("script-src ", f"script-src &#39;sha256-{digest}&#39; ", 1)
    copy = page.with_name(f"seen-{page.name}")
    copy.write_text(text.replace("</body>", f"<script>{code}</script></body>"), encoding="utf-8")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900", "--enable-logging=stderr",
         "--virtual-time-budget=20000", "--dump-dom", copy.as_uri()],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    copy.unlink()
    console = re.findall(r"CONSOLE.*?\] (.*)", done.stderr)
    seen = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert seen, (console, done.stderr[-2000:])
    return json.loads(_unescaped(seen.group(1))), console


def _unescaped(text):
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
