"""What was found, as JSON, as tables, and drawn."""

import json
import statistics

# By figure: what its values are held against, and what is aimed at.
AIMS = {
    ("commands", "embedded"): "0.5 of the ceiling, p99 within 3 times",
    ("commands", "kafka"): "0.3 of the ceiling",
    ("flow", "embedded"): "4,000/s",
    ("flow", "kafka"): "1,500/s",
    ("hot", "embedded"): "10,000/s",
}
AGAINST = {"commands": "ceiling", "peers": "crud"}
UNITS = {"n": ",.0f", "per_s": ",.0f", "posted_per_s": ",.0f", "p50_ms": ",.1f", "p99_ms": ",.1f", "after_s": ",.2f",
         "log_bytes": ",.0f", "rows_bytes": ",.0f", "memory_mb": ",.0f", "peak_mb": ",.0f", "cpu_us": ",.1f"}


def medians(rounds):
    """Of several rounds' values by name, the median of each value; ratios are medians of ratios within a round."""
    found = {}
    for name in rounds[0]:
        found[name] = {what: statistics.median(it[name][what] for it in rounds) for what in rounds[0][name]}
    return found


def with_ratios(figure, rounds):
    """The medians, and beside them how many times the measure each is."""
    found, against = medians(rounds), AGAINST.get(figure)
    for name, values in found.items():
        if against and name != against:
            values["ratio"] = statistics.median(it[name]["per_s"] / it[against]["per_s"] for it in rounds)
            values["p99_ratio"] = statistics.median(it[name]["p99_ms"] / it[against]["p99_ms"] for it in rounds)
        speeds = [it[name]["per_s"] for it in rounds if "per_s" in it[name]]
        if len(speeds) > 1:
            values["spread"] = max(speeds) / min(speeds)
    return found


def table(figure, found):
    columns = [what for what in [*UNITS, "ratio", "p99_ratio", "spread"] if any(what in values for values in found.values())]
    lines = [f"| {figure} | " + " | ".join(columns) + " | aim |", "|---" * (len(columns) + 2) + "|"]
    for name, values in found.items():
        cells = [format(values[what], UNITS.get(what, ".2f")) if what in values else "" for what in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {AIMS.get((figure, name), '')} |")
    return "\n".join(lines)


def write(folder, machine, options, results):
    """What this run found, beside what earlier ones did of other figures."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "results.json"
    told = json.loads(file.read_text()) if file.exists() else {}
    for figure, rounds in results.items():
        about = {"machine": machine, "seconds": options.seconds, "rounds": len(rounds)}
        told[figure] = {**about, "medians": with_ratios(figure, rounds), "each": rounds}
    file.write_text(json.dumps(told, indent=1) + "\n")
    for figure, one in told.items():
        draw(folder, figure, one["medians"])


def draw(folder, figure, found):
    """Bars of what is counted per second or in milliseconds; lines of what grows. Without matplotlib nothing is drawn."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("svg")
    # The same picture gives the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "orderlog", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    from matplotlib import pyplot

    if figure == "cost":
        drawn = growth(pyplot, found)
    elif any("per_s" in values for values in found.values()):
        drawn = bars(pyplot, figure, found)
    else:
        drawn = latencies(pyplot, found)
    drawn.tight_layout()
    drawn.savefig(folder / f"{figure}.svg", metadata={"Date": None})
    pyplot.close(drawn)


TITLES = {"commands": "POST /orders a second, answered when durable", "flow": "orders a second, drained",
          "hot": "reservations a second of one SKU", "peers": "orders a second, confirmed"}
COLOURS = {"ceiling": "#9aa0a6", "crud": "#c98b5e", "cqrs-es": "#c98b5e", "fastapi": "#c98b5e"}


def bars(pyplot, figure, found):
    drawn, axes = pyplot.subplots(figsize=(6.4, 0.6 + 0.42 * len(found)))
    names, speeds = list(found), [values["per_s"] for values in found.values()]
    held = axes.barh(names, speeds, color=[COLOURS.get(name, "#3b6ea5") for name in names], height=0.6)
    axes.bar_label(held, labels=[f"{speed:,.0f}" for speed in speeds], padding=4)
    axes.invert_yaxis()
    axes.set_xlim(0, max(speeds) * 1.15)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_title(TITLES[figure], loc="left", fontsize=10)
    return drawn


def latencies(pyplot, found):
    drawn, axes = pyplot.subplots(figsize=(6.4, 0.8 + 0.7 * len(found)))
    places = range(len(found))
    for offset, what, colour in ((-0.18, "p50_ms", "#3b6ea5"), (0.18, "p99_ms", "#9dbbd8")):
        values = [one[what] for one in found.values()]
        held = axes.barh([place + offset for place in places], values, 0.34, color=colour, label=what.removesuffix("_ms"))
        axes.bar_label(held, labels=[f"{value:,.0f} ms" for value in values], padding=4)
    axes.set_yticks(list(places), list(found))
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.legend(frameon=False, loc="upper right")
    axes.set_title("from order placed to order paid in the inbox", loc="left", fontsize=10)
    return drawn


def growth(pyplot, found):
    drawn, (left, right) = pyplot.subplots(1, 2, figsize=(7.6, 2.8))
    n = [one["n"] / 1e3 for one in found.values()]
    for what, label in (("log_bytes", "log"), ("rows_bytes", "rows")):
        left.plot(n, [one[what] for one in found.values()], marker="o", label=label)
    left.set_title("bytes per order", loc="left", fontsize=10)
    for what, label in (("memory_mb", "resident"), ("peak_mb", "at most")):
        right.plot(n, [one[what] for one in found.values()], marker="o", label=label)
    right.set_title("memory, MB", loc="left", fontsize=10)
    for axes in (left, right):
        axes.set_ylim(0)
        axes.set_xlabel("thousand orders")
        axes.legend(frameon=False)
    return drawn
