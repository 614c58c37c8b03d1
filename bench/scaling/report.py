"""Writes FOLDER/report.md, one page, from FOLDER/scaling.json and the plots that are there. Standard library only."""

import json
import os
import re
import sys

from summary import mfu_and_peak, table

PICTURES = {
    "throughput": "Tokens a second over ranks",
    "efficiency": "Efficiency over ranks",
    "time": "Where the time of a step goes",
    "bubble": "The pipeline bubble, measured and in theory",
}


def findings(points):
    """What the figures say, in sentences."""
    for kind in ("strong", "weak"):
        group = [point for point in points if point["kind"] == kind and "efficiency" in point]
        if not group:
            continue
        most = max(point["ranks"] for point in group)
        best = max((p for p in group if p["ranks"] == most), key=lambda p: p["tokens_per_second"]["median"])
        text = f"{kind.capitalize()} scaling: on {most} rank{'s' * (most > 1)} the fastest grid is {best['grid']} with {best['tokens_per_second']['median']:,.0f} tokens/s"
        if best["name"] != best["efficiency_of"]:
            low, middle, high = (100 * best["efficiency"][x] for x in ("min", "median", "max"))
            of_fewest = f"{middle:.1f} % ({low:.1f} to {high:.1f} %) of {best['efficiency_of']} a rank"
            text += "; ranks share cores, so an efficiency has no meaning" if best["shared_cores"] else f", {of_fewest}"
        yield text + "."
    bubbles = [point for point in points if point["kind"] == "bubble" and "bubble" in point]
    if bubbles:
        worst = max(bubbles, key=lambda p: abs(p["bubble"]["median"] - p["bubble_theory"]))
        yield (
            f"Bubble: furthest from (p - 1) / (m + p - 1) is {worst['name']}, with {100 * worst['bubble']['median']:.1f} % "
            f"measured and {100 * worst['bubble_theory']:.1f} % in theory."
        )


def warnings(points):
    runs = [run for point in points for run in point["runs"]]
    busy = max(run["busy"] for run in runs)
    if busy > 0.1:
        yield f"Other programs used up to {100 * busy:.0f} % of the processors just before a run: quote nothing of this."
    if any(point["shared_cores"] for point in points):
        yield "Points with a star had more ranks than cores: they show that the grid works, not how a machine scales."
    if any(len(point["runs"]) < 2 for point in points):
        yield "Some points were run once: nothing is known of their spread."
    if not any("split_ms" in point for point in points):
        yield "The runs left no step_times.json: nothing is known of the parts of a step and of bubbles."


def markdown_table(points):
    head, *body = table(points)
    yield "| " + " | ".join(head) + " |"
    yield "|" + "|".join("---" if i in (0, 2, 3) else "--:" for i in range(len(head))) + "|"
    for row in body:
        yield "| " + " | ".join(cell.replace("*", "\\*") for cell in row) + " |"


def lines(result, folder):
    points, machine, options = result["points"], result["machine"], result["options"]
    runs = [run for point in points for run in point["runs"]]
    yield "# Scaling of Cuboid"
    yield ""
    yield f"{len(points)} point{'s' * (len(points) > 1)}, {len(runs)} run{'s' * (len(runs) > 1)} of {runs[0]['steps']} steps ({runs[0]['warmup']} not counted), in turns, from {min(r['date'] for r in runs)} to {max(r['date'] for r in runs)}."
    yield ""
    for text in (*warnings(points), *findings(points)):
        yield f"- {text}"
    yield ""
    yield "## Figures"
    yield ""
    yield from markdown_table(points)
    yield ""
    yield "tokens/s, step and MFU: medians over the runs of each run's median step; min, max: over the runs; a rank: tokens/s over ranks; m:"
    yield "micro-batches of a step; batch: sequences of a step. Efficiency: tokens/s a rank over that of the fewest ranks of the kind on their best grid."
    yield f"MFU: {mfu_and_peak(runs[0])[0] or 'not computed'}."
    for name, text in PICTURES.items():
        if os.path.exists(os.path.join(folder, f"{name}.png")):
            yield ""
            yield f"![{text}]({name}.png)"
    yield ""
    yield "## Machine"
    yield ""
    yield "| what | value |"
    yield "|---|---|"
    for name, value in machine.items():
        yield f"| {name} | {value} |"
    for name, value in devices(points):
        yield f"| {name} | {value} |"
    yield ""
    yield "## Run"
    yield ""
    for name, value in options.items():
        if name not in machine:
            yield f"- {name}: `{value}`"
    yield ""
    yield f"The first run of {points[-1]['name']}, as the launcher printed it:"
    yield ""
    # Whose folders they are is nobody's business.
    command = re.sub(r"\S*/points/", "points/", points[-1]["runs"][0]["command"])
    yield "    " + re.sub(r"(^| )\S*/cuboid pretrain", r"\1cuboid pretrain", command)


def devices(points):
    """What the runs say of device, threads and measured peak, one line for each rank count."""
    seen = {}
    for point in points:
        seen.setdefault(point["ranks"], point)
    for ranks, point in sorted(seen.items()):
        run = point["runs"][0]
        peak = mfu_and_peak(run)[1]
        limit = f"; peak {peak}" if peak else ""
        yield f"{ranks} rank{'s' * (ranks > 1)}{' (share cores)' if point['shared_cores'] else ''}", run["device"] + limit


def main():
    folder = sys.argv[1]
    with open(os.path.join(folder, "scaling.json"), encoding="utf-8") as file:
        result = json.load(file)
    with open(os.path.join(folder, "report.md"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines(result, folder)) + "\n")


if __name__ == "__main__":
    main()
