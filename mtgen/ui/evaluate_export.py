"""A run as files to save."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mtgen.ui.pictures import new_folder

if TYPE_CHECKING:
    from evals.reports.tables import Run


def exported(run: Run, name: str, folder: Path) -> list[Path]:
    """One static HTML page, CSV of the scores, and Markdown, in a folder of their own.

    Args:
        run: What to write.
        name: Of the files.
        folder: Where that folder is made.

    Raises:
        CacheWriteError: disk full or not writable.
        RecordsError: a picture of the run is missing.
    """
    from evals.reports.board import scores_csv
    from evals.reports.page import run_page
    from evals.reports.tables import run_markdown
    from mtgen.model.trunk import writing

    stem = re.sub(r"[^\w.-]+", "-", name)
    contents = {".html": run_page(run), ".csv": scores_csv(run), ".md": run_markdown(run)}
    place, paths = new_folder(folder), []
    with writing(place, "the server needs room there"):
        for ending, content in contents.items():
            paths.append(place / f"{stem}{ending}")
            paths[-1].write_text(content, "utf-8")
    return paths
