"""Draws FOLDER/scaling.json: throughput, efficiency, time and bubble, each as PNG and SVG. Plots that nothing was measured for are left out.

Colours are Okabe and Ito's, which the colour-blind can tell apart; every line has a marker of its own besides. Error bars are minimum and
maximum over the runs, points are medians; hollow markers are of ranks that shared cores.
"""

import json
import os
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from PIL import Image

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = "osD^vPX*"
SPLIT = {
    "compute": ("compute", "#0072B2"),
    "communication": ("exposed communication (TP, DP)", "#D55E00"),
    "pipeline_wait": ("pipeline wait (bubble)", "#E69F00"),
    "optimizer": ("optimizer", "#009E73"),
    "data": ("data", "#CC79A7"),
    "other": ("other", "#999999"),
}
DARK = ("compute", "communication", "optimizer")
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": "#E3E3E3",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 6.5,
    "figure.constrained_layout.use": True,
    # Text stays text: it can be searched, and read aloud.
    "svg.fonttype": "none",
    "svg.hashsalt": "scaling",
}
KINDS = {"strong": "Strong scaling: one batch for all", "weak": "Weak scaling: a batch for each rank"}


def label_of(point):
    """The family of points that one line joins: DP is what is left."""
    parts = []
    if point["tp"] > 1:
        parts.append(f"TP {point['tp']}")
    if point["pp"] > 1:
        parts.append(f"PP {point['pp']} ({point['schedule']})")
    return ", ".join(parts) or "DP alone"


def families(points):
    found = {}
    for point in points:
        found.setdefault(label_of(point), []).append(point)
    return found


def styles(points):
    """A colour and a marker for each family, the same in every plot."""
    labels = sorted({label_of(point) for point in points}, key=lambda label: (label != "DP alone", label))
    return {label: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, label in enumerate(labels)}


def error_line(axes, xs, spreads, style, label, hollow, scale=1.0, dashes="-"):
    colour, marker = style
    middle = [scale * s["median"] for s in spreads]
    low = [m - scale * s["min"] for m, s in zip(middle, spreads)]
    high = [scale * s["max"] - m for m, s in zip(middle, spreads)]
    axes.errorbar(xs, middle, yerr=[low, high], color=colour, linestyle=dashes, capsize=3.5, elinewidth=1.2, label=label)
    for x, y, empty in zip(xs, middle, hollow):
        axes.plot(x, y, marker, color=colour, markerfacecolor="white" if empty else colour, markeredgewidth=1.6, zorder=3)


def rank_axis(axes, points):
    ranks = sorted({point["ranks"] for point in points})
    axes.set_xlabel("ranks")
    if ranks[-1] >= 4 * ranks[0]:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xlim(ranks[0] - 0.15 * ranks[-1], 1.15 * ranks[-1])
    axes.xaxis.set_major_locator(FixedLocator(ranks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def legend(axes, looks, extra=()):
    """One entry for each line, with its marker."""
    handles = [Line2D([], [], color=c, marker=m, label=name) for name, (c, m) in looks.items()]
    axes.legend(handles=[*handles, *extra], loc="best")


HOLLOW = Line2D([], [], color="#555555", marker="o", markerfacecolor="white", linestyle="", label="ranks share cores")


def scaling_figure(points, draw, note):
    """One panel for each kind that was measured."""
    kinds = [kind for kind in KINDS if any(point["kind"] == kind for point in points)]
    if not kinds:
        return None
    figure, panels = plt.subplots(1, len(kinds), figsize=(5.4 * len(kinds) + 0.6, 4.3), squeeze=False)
    looks = styles([point for point in points if point["kind"] in kinds])
    for axes, kind in zip(panels[0], kinds):
        group = [point for point in points if point["kind"] == kind]
        ideal = draw(axes, group, looks)
        rank_axis(axes, group)
        axes.set_title(KINDS[kind])
        shown = {label: looks[label] for label in families(group)}
        legend(axes, shown, [ideal, *([HOLLOW] if any(p["shared_cores"] for p in group) else [])])
    figure.text(0.5, -0.03, note, ha="center", fontsize=8.5, color="#555555")
    return figure


def throughput(points):
    def draw(axes, group, looks):
        base = next(point for point in group if point["name"] == group[0].get("efficiency_of", group[0]["name"]))
        ranks = sorted({point["ranks"] for point in group})
        one = base["tokens_per_second"]["median"] / base["ranks"]
        (ideal,) = axes.plot(ranks, [one * n for n in ranks], "--", color="#888888", linewidth=1.3, label="ideal")
        for label, line in families(group).items():
            error_line(
                axes, [p["ranks"] for p in line], [p["tokens_per_second"] for p in line], looks[label], label,
                [p["shared_cores"] for p in line],
            )  # fmt: skip
        axes.set_ylabel("tokens/s")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
        if ranks[-1] >= 8 * ranks[0]:
            axes.set_yscale("log", base=2)
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
        else:
            axes.set_ylim(bottom=0)
        return ideal

    return scaling_figure(points, draw, "Medians over the runs; bars: minimum to maximum. DP is what is left of the ranks. Ideal: the fewest ranks' best grid, times the ranks.")


def efficiency(points):
    points = [point for point in points if "efficiency" in point]

    def draw(axes, group, looks):
        ideal = axes.axhline(100, linestyle="--", color="#888888", linewidth=1.3, label="ideal")
        for label, line in families(group).items():
            error_line(
                axes, [p["ranks"] for p in line], [p["efficiency"] for p in line], looks[label], label,
                [p["shared_cores"] for p in line], 100,
            )  # fmt: skip
        top = max(100 * p["efficiency"]["max"] for p in group)
        axes.set_ylim(0, max(112, 1.08 * top))
        axes.set_ylabel("efficiency, %")
        return ideal

    return scaling_figure(points, draw, "Tokens/s a rank over that of the fewest ranks' best grid, turn by turn. Of ranks that share cores it has no meaning.")


def milliseconds(value):
    return f"{value:,.{max(0, 2 - len(str(int(value))) + 1)}f} ms"


def time_split(points):
    points = [point for point in points if "split_ms" in point]
    if not points:
        return None
    points = points[::-1]
    figure, axes = plt.subplots(figsize=(9.5, 1.7 + 0.34 * len(points)))
    left = [0.0] * len(points)
    totals = [sum(point["split_ms"].values()) for point in points]
    for name, (label, colour) in SPLIT.items():
        widths = [100 * point["split_ms"][name] / total for point, total in zip(points, totals)]
        axes.barh(range(len(points)), widths, left=left, color=colour, edgecolor="white", linewidth=0.6, height=0.74, label=label)
        for y, (start, width) in enumerate(zip(left, widths)):
            if width >= 6:
                axes.text(start + width / 2, y, f"{width:.0f}", ha="center", va="center", color="white" if name in DARK else "black", fontsize=8.5)
        left = [start + width for start, width in zip(left, widths)]
    for y, total in enumerate(totals):
        axes.text(101, y, milliseconds(total), va="center", fontsize=9)
    axes.set_yticks(range(len(points)), [point["name"] + ("*" if point["shared_cores"] else "") for point in points])
    axes.set_xlim(0, 100)
    axes.set_ylim(-0.6, len(points) - 0.4)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share of a step, % (mean over ranks; right: milliseconds of a step)")
    figure.suptitle("Where the time of a step goes", x=0.01, ha="left", fontsize=11, fontweight="bold")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    if any(point["shared_cores"] for point in points):
        figure.text(0.99, 0.985, "* ranks share cores", ha="right", va="top", fontsize=8.5, color="#555555")
    return figure


def bubble(points):
    points = [point for point in points if point["kind"] == "bubble" and "bubble" in point]
    if not points:
        return None
    figure, axes = plt.subplots(figsize=(6.6, 4.5))
    groups = {}
    for point in points:
        groups.setdefault((point["grid"], point["schedule"], point["pp"]), []).append(point)
    looks = {f"{grid}, {schedule}": (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, (grid, schedule, _) in enumerate(groups)}
    for (grid, schedule, _), line in groups.items():
        line.sort(key=lambda point: point["microbatches"])
        label = f"{grid}, {schedule}"
        # A little aside, so that lines that agree can both be seen.
        aside = 1.025 ** (2 * list(looks).index(label) - len(looks) + 1)
        error_line(
            axes, [p["microbatches"] * aside for p in line], [p["bubble"] for p in line], looks[label], label,
            [p["shared_cores"] for p in line], 100,
        )  # fmt: skip
    for pp in sorted({point["pp"] for point in points}):
        theory = sorted({(p["microbatches"], 100 * p["bubble_theory"]) for p in points if p["pp"] == pp})
        axes.plot(*zip(*theory), "--", color="#888888", linewidth=1.3)
        axes.annotate(f"p = {pp}", theory[-1], textcoords="offset points", xytext=(7, 3), fontsize=9, color="#555555")
    counts = sorted({point["microbatches"] for point in points})
    axes.set_xscale("log", base=2)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_xlabel("micro-batches of a step, m")
    axes.set_ylabel("bubble, % of passes and waiting")
    axes.set_xlim(counts[0] / 1.2, counts[-1] * 1.35)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(7))
    axes.set_title("Pipeline bubble: measured and in theory")
    line = Line2D([], [], color="#888888", linestyle="--", label="theory: (p - 1) / (m + p - 1)")
    legend(axes, looks, [line, *([HOLLOW] if any(p["shared_cores"] for p in points) else [])])
    return figure


PLOTS = {"throughput": throughput, "efficiency": efficiency, "time": time_split, "bubble": bubble}


def main():
    folder = sys.argv[1]
    with open(os.path.join(folder, "scaling.json"), encoding="utf-8") as file:
        points = json.load(file)["points"]
    plt.rcParams.update(STYLE)
    for name, draw in PLOTS.items():
        figure = draw(points)
        for ending in ("png", "svg"):
            path = os.path.join(folder, f"{name}.{ending}")
            if os.path.exists(path):
                os.remove(path)
            if figure:
                # No date: what was drawn twice is the same twice.
                about = {"Date": None} if ending == "svg" else {}
                figure.savefig(path, dpi=130, bbox_inches="tight", pad_inches=0.12, metadata=about)
            if figure and ending == "png":
                # A third of the bytes, and nothing that can be seen is lost.
                Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
        if figure:
            plt.close(figure)


if __name__ == "__main__":
    main()
