#!/usr/bin/env python3
"""Draws the chart's dashboard with the data of a Prometheus, for the documentation.

It reads the panels from the dashboard's own file, asks Prometheus every query of theirs, and draws what it answers where the
panel stands. It is no Grafana: it knows the kinds of panel and the settings that this dashboard has, and stops at others.

    pip install matplotlib
    python3 docs/dashboard/render.py --prometheus http://127.0.0.1:9090 --minutes 16 --output docs/images/dashboard.png
"""

import argparse
import datetime
import json
import math
import pathlib
import re
import time
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
import matplotlib.dates
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, MultipleLocator, NullLocator
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "deploy/helm/amigo-operator/files/dashboards/amigo-operator.json"

# Grafana's grid has 24 columns.
COLUMNS, ROW, WIDTH, DPI = 24, 30, 1400, 100
HEADER = 62
INK, FAINT, GRID, PAGE = "#24292e", "#6b7280", "#e5e7eb", "#f4f5f5"
NAMED = {"green": "#3d9c4c", "orange": "#e8871a", "red": "#d1323f"}
PALETTE = ["#3274d9", "#e0952d", "#8f3bb8", "#19a3a3", "#c4162a", "#6a8f1f", "#d15fa0", "#705d3b", "#5195ce", "#a05a00"]


class Prometheus:
    """Answers queries about a span of time."""

    def __init__(self, url, start, end, step, interval):
        self.url, self.start, self.end, self.step = url.rstrip("/"), start, end, step
        self.variables = {
            "$__rate_interval": f"{4 * interval}s",
            "$__range": f"{int(end - start)}s",
            "$namespace": ".*",
            "$job": ".*",
        }

    def _ask(self, path, **parameters):
        for name, value in self.variables.items():
            parameters["query"] = parameters["query"].replace(name, value)
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url) as answer:
            return json.load(answer)["data"]["result"]

    def now(self, target):
        """The labels and the value of each series at the end."""
        found = self._ask("query", query=target["expr"], time=self.end)
        return [(series["metric"], float(series["value"][1])) for series in found]

    def over_time(self, target):
        """The legend of each series with its times and values, a gap where it has none."""
        found = self._ask("query_range", query=target["expr"], start=self.start, end=self.end, step=self.step)
        return sorted((legend(target, series["metric"]), *self._filled(series["values"])) for series in found)

    def _filled(self, samples):
        known = {round(float(at)): float(value) for at, value in samples}
        count = int((self.end - self.start) // self.step) + 1
        times = [self.start + index * self.step for index in range(count)]
        values = [known.get(round(at), float("nan")) for at in times]
        return [datetime.datetime.fromtimestamp(at, datetime.timezone.utc) for at in times], values


def legend(target, labels):
    return re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), target["legendFormat"]).strip()


def shown(value, unit):
    """A number in the unit of a panel."""
    if unit == "percentunit":
        return f"{value * 100:.0f} %"
    if unit == "bytes":
        return f"{value / 1024**2:.0f} MiB"
    if unit == "s":
        if value >= 120:
            return f"{value / 60:g} min" if value % 60 == 0 else f"{value / 60:.1f} min"
        scale, name = next(it for it in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")) if value >= it[0] or value == 0 or it[1] == "µs")
        return f"{value / scale:.4g} {name}"
    suffix = {"none": "", "cpm": "/min", "ops": "/s"}[unit]
    return f"{value:g}{suffix}"


def threshold(defaults, value):
    steps = defaults["thresholds"]["steps"]
    return [step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]


class Canvas:
    """Places panels on the grid."""

    def __init__(self, rows):
        self.height = HEADER + rows * ROW
        self.figure = plt.figure(figsize=(WIDTH / DPI, self.height / DPI), dpi=DPI, facecolor=PAGE)

    def text(self, x, y, text, **how):
        """Text at a place in pixels from the upper left corner."""
        how.setdefault("va", "top")
        self.figure.text(x / WIDTH, 1 - y / self.height, text, **how)

    def axes(self, x, y, width, height):
        return self.figure.add_axes([x / WIDTH, 1 - (y + height) / self.height, width / WIDTH, height / self.height])

    def box(self, panel, color="white"):
        """The background of a panel: its place in pixels."""
        place, column = panel["gridPos"], WIDTH / COLUMNS
        x, y = place["x"] * column + 4, HEADER + place["y"] * ROW + 4
        width, height = place["w"] * column - 8, place["h"] * ROW - 8
        corner = (x / WIDTH, 1 - (y + height) / self.height)
        size = (width / WIDTH, height / self.height)
        style = {"boxstyle": "square,pad=0", "facecolor": color, "edgecolor": GRID, "linewidth": 1, "zorder": -1}
        self.figure.add_artist(FancyBboxPatch(corner, *size, transform=self.figure.transFigure, **style))
        return x, y, width, height

    def title(self, panel, x, y, color=INK):
        self.text(x + 10, y + 7, panel["title"], fontsize=9.5, weight="bold", color=color)


def draw_row(canvas, panel, prometheus):
    place = panel["gridPos"]
    canvas.text(12, HEADER + place["y"] * ROW + 11, panel["title"], fontsize=11.5, weight="bold", color=INK)


def draw_stat(canvas, panel, prometheus):
    defaults = panel["fieldConfig"]["defaults"]
    found = prometheus.now(panel["targets"][0])
    value = found[0][1] if found else None
    color = NAMED[threshold(defaults, value if found else 0)]
    x, y, width, height = canvas.box(panel, color)
    canvas.title(panel, x, y, "white")
    text = shown(round(value), defaults["unit"]) if found else defaults.get("noValue", "No data")
    canvas.text(x + width / 2, y + height / 2 + 12, text, fontsize=27, weight="bold", color="white", ha="center", va="center")


def draw_table(canvas, panel, prometheus):
    x, y, width, height = canvas.box(panel)
    canvas.title(panel, x, y)
    found = [labels for labels, _ in prometheus.now(panel["targets"][0])]
    names = ["kind", "namespace", "name"]
    assert all(sorted(labels) == sorted(names) for labels in found), found
    for index, name in enumerate(names):
        left = x + 14 + index * width / len(names)
        canvas.text(left, y + 34, name, fontsize=9, weight="bold", color=FAINT)
        for line, labels in enumerate(found):
            canvas.text(left, y + 58 + 22 * line, labels[name], fontsize=9.5, color=INK)
    if not found:
        canvas.text(x + width / 2, y + height / 2, "No data", fontsize=11, color=FAINT, ha="center")


def draw_time_series(canvas, panel, prometheus):
    x, y, width, height = canvas.box(panel)
    canvas.title(panel, x, y)
    defaults = panel["fieldConfig"]["defaults"]
    opacity = defaults["custom"]["fillOpacity"] / 100
    series = [it for target in panel["targets"] for it in prometheus.over_time(target)]
    lines = legend_lines([name for name, *_ in series], width - 20)
    below = 16 * len(lines) + 26
    axes = canvas.axes(x + 58, y + 32, width - 74, height - 32 - below)
    colors = iter(PALETTE * 3)
    drawn = {}
    for name, times, values in series:
        color = drawn[name] = fixed_color(panel, name) or next(colors)
        axes.plot(times, values, color=color, linewidth=1.4, solid_joinstyle="round", marker=".", markersize=2.5)
        axes.fill_between(times, values, color=color, alpha=opacity, linewidth=0)
    limit_line(axes, defaults)
    frame(axes, defaults, series, prometheus)
    for index, line in enumerate(lines):
        left = x + 12
        for name in line:
            line_y = y + height - 16 * (len(lines) - index) - 2
            canvas.text(left, line_y, "▬", fontsize=8, color=drawn[name])
            canvas.text(left + 14, line_y, name or "–", fontsize=8, color=INK)
            left += legend_width(name)
    if not series:
        axes.text(0.5, 0.5, "No data", transform=axes.transAxes, ha="center", va="center", color=FAINT)


def fixed_color(panel, name):
    """The color that an override gives to a series, if one does."""
    for override in panel["fieldConfig"]["overrides"]:
        if re.search(override["matcher"]["options"].strip("/"), name):
            return NAMED[override["properties"][0]["value"]["fixedColor"]]
    return None


def limit_line(axes, defaults):
    if defaults["custom"].get("thresholdsStyle", {}).get("mode") == "line":
        for step in defaults["thresholds"]["steps"]:
            if step["value"] is not None:
                axes.axhline(step["value"], color=NAMED[step["color"]], linewidth=1, linestyle="--")


def frame(axes, defaults, series, prometheus):
    highest = max((value for *_, values in series for value in values if value == value), default=0)
    unit = defaults["unit"]
    axes.set_xlim(*(datetime.datetime.fromtimestamp(at, datetime.timezone.utc) for at in (prometheus.start, prometheus.end)))
    if defaults["custom"].get("scaleDistribution", {}).get("type") == "log":
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0, highest * 1.12 if highest > 0 else 1)
        axes.yaxis.set_major_locator(MultipleLocator(tick(highest or 1, unit)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(float(f"{value:.6g}"), unit)))
    axes.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%H:%M"))
    minutes = next(it for it in (1, 2, 5, 10, 15, 30, 60) if it * 8 * 60 >= prometheus.end - prometheus.start)
    axes.xaxis.set_major_locator(matplotlib.dates.MinuteLocator(byminute=range(0, 60, minutes)))
    axes.tick_params(labelsize=8, colors=FAINT, length=0)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def tick(highest, unit):
    """The distance of lines: a round number of what the unit is shown in, so that there are three to seven of them."""
    whole = {"s": 60 if highest >= 120 else 1, "bytes": 1024**2, "percentunit": 0.01}.get(unit, 1)
    least = highest / whole / 5
    if unit == "none":
        least = max(least, 1)
    power = 10 ** math.floor(math.log10(least))
    return whole * power * min(step for step in (1, 2, 5, 10) if step * power >= least * 0.999)


def legend_width(name):
    return 34 + 6.2 * len(name)


def legend_lines(names, width):
    """The names in as many lines as they need."""
    lines = [[]]
    for name in dict.fromkeys(names):
        if lines[-1] and sum(map(legend_width, [*lines[-1], name])) > width:
            lines.append([])
        lines[-1].append(name)
    return lines


DRAW = {"row": draw_row, "stat": draw_stat, "table": draw_table, "timeseries": draw_time_series}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090")
    parser.add_argument("--minutes", type=float, default=16, help="how much of the time before --end is drawn")
    parser.add_argument("--end", type=float, default=time.time(), help="seconds since 1970; default: now")
    parser.add_argument("--scrape-interval", type=int, default=15, help="seconds, as Grafana is told")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "docs/images/dashboard.png")
    options = parser.parse_args()
    step = options.scrape_interval
    end = options.end // step * step
    prometheus = Prometheus(options.prometheus, end - options.minutes * 60, end, step, options.scrape_interval)
    dashboard = json.loads(DASHBOARD.read_text())
    canvas = Canvas(max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"]))
    canvas.text(12, 12, dashboard["title"], fontsize=16, weight="bold", color=INK)
    span = [datetime.datetime.fromtimestamp(at, datetime.timezone.utc) for at in (prometheus.start, end)]
    canvas.text(WIDTH - 12, 18, f"{span[0]:%H:%M} to {span[1]:%H:%M} UTC", fontsize=10, color=FAINT, ha="right")
    for panel in dashboard["panels"]:
        DRAW[panel["type"]](canvas, panel, prometheus)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    canvas.figure.savefig(options.output, dpi=DPI, facecolor=PAGE)
    # Few colors make a small file.
    Image.open(options.output).convert("RGB").quantize(96).save(options.output, optimize=True)


if __name__ == "__main__":
    main()
