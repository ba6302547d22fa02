"""Data cards and notices, in the form that the Hugging Face Hub reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from mtgen.data.build import Missing, SourceReport


@dataclass(frozen=True, kw_only=True)
class CardTexts:
    """What a card says beside its sources."""

    title: str
    configs: dict[str, dict[str, str]]
    """Configuration to split to path pattern."""
    languages: Sequence[str]
    task: str
    steps: str
    """Markdown: rows before and after each step of the merge."""
    filters: str
    """Markdown: what each filter means."""
    schema: pa.Schema
    samples: str
    held_out: str


def card(texts: CardTexts, reports: Sequence[SourceReport], missing: Sequence[Missing]) -> str:
    """README.md of a data set: front matter, sources, counts per filter, samples."""
    front = ["---", "license: other", "license_name: mixed-see-notice", "license_link: NOTICE"]
    front += ["language:", *(f"- {lang}" for lang in texts.languages)]
    front += ["task_categories:", f"- {texts.task}", "configs:"]
    for config, splits in texts.configs.items():
        front += [f"- config_name: {config}", "  data_files:"]
        for split, path in splits.items():
            front += [f"  - split: {split}", f"    path: {path}"]
    front += ["---", ""]
    parts = ["\n".join(front), f"# {texts.title}", ""]
    parts.append(
        "Made by `python -m mtgen.data build`; `manifest.json` holds hashes and all counts, "
    )
    parts.append("`NOTICE` the attributions. Every row carries its source and licence.\n")
    parts += ["## Rows\n", texts.steps, ""]
    parts += ["## Columns\n", "| column | type |", "| --- | --- |"]
    parts += [f"| {column.name} | {column.type} |" for column in texts.schema]
    parts += ["", "## Sources\n", source_table(reports), ""]
    if missing:
        parts += ["Missing in this build:\n", *(f"- {item.sentence()}" for item in missing), ""]
    parts += ["## Filters\n", texts.filters, "", "## Held out\n", texts.held_out, ""]
    parts += ["## Samples\n", texts.samples, ""]
    return "\n".join(parts)


def source_table(reports: Sequence[SourceReport]) -> str:
    """Source, packages, licence, rows read, dropped by reason and kept."""
    lines = ["| source | packages | licence | read | kept | dropped |",
             "| --- | --- | --- | ---: | ---: | --- |"]  # fmt: skip
    for report in reports:
        packages = ", ".join(f"{p['package']} {p['version']}" for p in report.packages[:4])
        if len(report.packages) > 4:
            packages += f", and {len(report.packages) - 4} more"
        total: dict[str, int] = {}
        for value in report.counts.values():
            for reason, number in (value if isinstance(value, dict) else {}).items():
                total[reason] = total.get(reason, 0) + number
        if not total:
            total = {k: v for k, v in report.counts.items() if isinstance(v, int)}
        dropped = ", ".join(
            f"{reason} {number:,}"
            for reason, number in sorted(total.items(), key=lambda item: -item[1])
            if reason not in {"read", "kept"}
        )
        lines.append(
            f"| {report.name} | {packages or 'none'} | {report.licence} | "
            f"{total.get('read', 0):,} | {total.get('kept', 0):,} | {dropped} |"
        )
    return "\n".join(lines)


def notice(title: str, reports: Sequence[SourceReport]) -> str:
    """Attributions that the licences ask for."""
    lines = [title, "", "This data set contains material from:", ""]
    for report in reports:
        versions = ", ".join(f"{p['package']} {p['version']}" for p in report.packages)
        lines.append(f"{report.name}: {report.credit}")
        lines.append(f"    licence {report.licence}" + (f"; from {versions}" if versions else ""))
        lines.append("    changed: selected, cleaned, split and de-duplicated")
        lines.append("")
    lines.append("Each row names its source and licence; the licences' texts are in the packages.")
    return "\n".join(lines) + "\n"
