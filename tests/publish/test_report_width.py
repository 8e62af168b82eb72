"""Reports on a telephone: nothing is wider than the screen. Needs Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from support.result_documents import best_of_n_document

from mmprm_hf.files import write_json
from mmprm_hf.publish.reports import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_page_fits_into_375_pixels(tmp_path):
    for name in ("a", "b"):
        write_json(tmp_path / f"{name}.json", best_of_n_document())
    for paths in (["a.json"], ["a.json", "b.json"]):
        write_report([tmp_path / path for path in paths], tmp_path / "report.html")
        on_load = "document.title = f.contentDocument.documentElement.scrollWidth"
        frame = f'<iframe id=f src="report.html" width=375 height=600 onload="{on_load}"></iframe>'
        (tmp_path / "frame.html").write_text(frame)
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
        flags += [f"--user-data-dir={tmp_path / 'profile'}"]
        command = [CHROMIUM, *flags, (tmp_path / "frame.html").as_uri()]
        page = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        assert int(re.search(r"<title>(\d+)</title>", page)[1]) <= 375, paths
