#!/usr/bin/env python3
"""Draws the overview for the manual from what its panels got in the last `make test-monitoring`.

    packaging/grafana/picture.py target/monitoring/panels.json docs/images/overview.svg

No Grafana is needed for it, so it is a drawing and no screenshot; titles, words, colours and values are those of the dashboard.
"""

import html
import json
import pathlib
import sys

COLOURS = {"green": "#3f8f4f", "yellow": "#b98a00", "red": "#c4342d", "blue": "#3873b3", "text": "#6b7280"}
LINES = ["#3f8f4f", "#b98a00", "#3873b3", "#c4342d", "#8a4fb3", "#2b8a8a"]
WIDTH, COLUMN = 1200, 50


def main(data_file, picture):
    dashboard = json.loads((pathlib.Path(__file__).parent / "dashboards/overview.json").read_text())
    asked = [one for one in json.loads(pathlib.Path(data_file).read_text()) if one["dashboard"] == "overview"]
    answers, out, bottom = iter(asked), [], 0
    for panel in dashboard["panels"]:
        got = [next(answers) for _ in panel["targets"]]
        grid = panel["gridPos"]
        x, y, w, h = grid["x"] * COLUMN, grid["y"] * 22, grid["w"] * COLUMN - 6, grid["h"] * 22 - 6
        bottom = max(bottom, y + h)
        out.append(f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="3" fill="#fff" stroke="#d4d7dd"/>')
        out.append(text(x + 8, y + 17, panel["title"], 12, "#374151", bold=True))
        draw = {"stat": stat, "table": table, "timeseries": lines, "state-timeline": timeline}[panel["type"]]
        out += draw(panel, got, x, y + 22, w, h - 26)
    size = f'width="{WIDTH}" height="{bottom + 6}" viewBox="-4 -4 {WIDTH + 4} {bottom + 10}"'
    body = "\n".join(out)
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">\n<rect x="-4" y="-4" width="100%" height="100%" fill="#f4f5f7"/>\n{body}\n</svg>\n'
    pathlib.Path(picture).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(picture).write_text(svg)


def text(x, y, what, size=11, colour="#111827", bold=False, anchor="start"):
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{weight}>{html.escape(str(what))}</text>'


def last(values):
    good = [value for _, value in values if value is not None]
    return good[-1] if good else None


def shown(value, unit, mappings):
    """The word and the colour that a mapping gives, or the number with its unit."""
    if value is None:
        return "", None
    for mapping in mappings:
        if (word := mapping["options"].get(f"{value:g}")):
            return word["text"], COLOURS[word["color"]]
    if unit == "s":
        return (f"{value / 3600:.1f} h" if value >= 5400 else f"{value / 60:.1f} min" if value >= 90 else f"{value:.1f} s"), None
    if unit == "bytes":
        for name, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
            if value >= size:
                return f"{value / size:.1f} {name}", None
    return f"{value:g}", None


def by_threshold(value, steps):
    colour = steps[0]["color"]
    for step in steps[1:]:
        if value is not None and value >= step["value"]:
            colour = step["color"]
    return COLOURS[colour]


def stat(panel, got, x, y, w, h):
    defaults = panel["fieldConfig"]["defaults"]
    value = last(got[0]["values"][0][1]) if got[0]["values"] else None
    word, colour = shown(value, defaults.get("unit"), defaults["mappings"])
    colour = colour or by_threshold(value, defaults["thresholds"]["steps"])
    return [f'<rect x="{x + 4}" y="{y}" width="{w - 8}" height="{h}" rx="3" fill="{colour}"/>',
            text(x + w / 2, y + h / 2 + 10, word, 26, "#fff", bold=True, anchor="middle")]


def labels_of(series):
    return dict(pair.split("=", 1) for pair in series.split(", ") if "=" in pair)


def table(panel, got, x, y, w, h):
    config = panel["fieldConfig"]
    change = {}
    for one in panel.get("transformations", []):
        change = one["options"].get("renameByName", change)
    of_column = {o["matcher"]["options"]: {p["id"]: p["value"] for p in o["properties"]} for o in config["overrides"]}
    rows = {}
    for i, one in enumerate(got):
        for series, values in one["values"]:
            labels = labels_of(series)
            labels.pop("__name__", None)
            if not change:
                # A query over time shows what has been; the latest comes last.
                labels.pop("instance", None)
            row = rows.setdefault(tuple(sorted(labels.items())), dict(labels))
            if change:
                row[change.get(f"Value #{chr(ord('A') + i)}", "value")] = last(values)
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    out, step = [], w / max(len(columns), 1)
    for c, name in enumerate(columns):
        out.append(text(x + 8 + c * step, y + 14, change.get(name, name), 11, "#6b7280"))
    for r, row in enumerate(list(rows.values())[: max(int((h - 20) / 19), 1)]):
        for c, name in enumerate(columns):
            value, properties = row.get(name), of_column.get(name, {})
            word, colour = (value, None) if isinstance(value, str) else shown(value, properties.get("unit"), properties.get("mappings", []))
            at = y + 34 + r * 19
            if colour:
                out.append(f'<rect x="{x + 4 + c * step:.0f}" y="{at - 13}" width="{step - 8:.0f}" height="17" fill="{colour}"/>')
            out.append(text(x + 8 + c * step, at, word, 11, "#fff" if colour else "#111827"))
    return out


def span(got):
    times = [at for one in got for _, values in one["values"] for at, _ in values]
    return min(times), max(max(times), min(times) + 1)


def lines(panel, got, x, y, w, h):
    unit = panel["fieldConfig"]["defaults"].get("unit")
    start, end = span(got)
    numbers = [value for one in got for _, values in one["values"] for _, value in values if value is not None]
    top = max(numbers, default=0) or 1
    out, left, bottom = [], x + 52, y + h - 22
    for part in (0, 0.5, 1):
        at = bottom - part * (h - 34)
        out.append(f'<line x1="{left}" y1="{at:.0f}" x2="{x + w - 8}" y2="{at:.0f}" stroke="#e5e7eb"/>')
        out.append(text(left - 6, at + 4, shown(round(top * part, 2), unit, [])[0], 10, "#6b7280", anchor="end"))
    drawn = 0
    for one, target in zip(got, panel["targets"]):
        for series, values in one["values"]:
            points = [(left + (at - start) / (end - start) * (x + w - 8 - left), bottom - value / top * (h - 34)) for at, value in values if value is not None]
            if not points:
                continue
            colour = LINES[drawn % len(LINES)]
            path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
            out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
            name = target.get("legendFormat", "")
            for label, value in labels_of(series).items():
                name = name.replace("{{" + label + "}}", value)
            if drawn < 5:
                out.append(text(left + drawn * 105, y + h - 4, name.split(" (")[0].split(", 127")[0], 10, colour))
            drawn += 1
    return out


def timeline(panel, got, x, y, w, h):
    start, end = span(got)
    mappings = panel["fieldConfig"]["defaults"]["mappings"]
    out, names = [], [(series, values) for one in got for series, values in one["values"]]
    height = (h - 8) / max(len(names), 1)
    for i, (series, values) in enumerate(names):
        out.append(text(x + 8, y + i * height + height / 2 + 4, labels_of(series).get("folder", ""), 11))
        ends = [at for at, _ in values[1:]] + [end]
        for (at, value), until in zip(values, ends):
            colour = shown(value, None, mappings)[1] or "#d4d7dd"
            px = x + 60 + (at - start) / (end - start) * (w - 70)
            out.append(f'<rect x="{px:.1f}" y="{y + i * height:.0f}" width="{(until - at) / (end - start) * (w - 70) + 0.6:.1f}" height="{height - 4:.0f}" fill="{colour}"/>')
    for i, word in enumerate(mappings[0]["options"].values()):
        out.append(text(x + 60 + i * 80, y - 6, word["text"], 10, COLOURS[word["color"]]))
    return out


if __name__ == "__main__":
    main(*sys.argv[1:])
