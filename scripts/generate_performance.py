"""Writes docs/performance.md and its plots from what the benchmarks recorded in benchmarks/results/.

python scripts/generate_performance.py            # write
python scripts/generate_performance.py --check    # 1 when a page or plot is not what the records say
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.plot import Line, bars_svg, lines_svg  # noqa: E402 - the path comes first

RECORDS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "performance"

HEAD = """# Performance

What relayq costs and how fast it is. This page is generated from what the benchmarks recorded
(`benchmarks/results/*.json`); each section names its command, the machine and the revision, so that it can be repeated.
Sender, broker and receiver share the machine with relayq in all of them. *Own CPU* is what the kernel accounts to
relayq's processes, per message.

Unless a section says otherwise: 10 KB messages, one worker, queues durable and messages persistent, `results` and
`success` both written with publisher confirms, the journal on.
"""

Record = dict[str, Any]
Section = tuple[str, dict[str, str]]
"""Markdown, and plots by file name."""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; all columns but the first are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _where(record: Record) -> str:
    """Command and circumstances, in one paragraph."""
    machine = record["machine"]
    settings = f" Further settings: `{' '.join(record['settings'])}`." if record["settings"] else ""
    return (
        f"`{record['command']}`: {machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}, uvloop {machine['uvloop']}, RabbitMQ {machine['rabbitmq']}, "
        f"revision {machine['revision']}, {machine['day']}, load before the run {machine['load_before']}.{settings}"
    )


def _picture(name: str, title: str) -> str:
    return f"![{title}](performance/{name})"


WANTED_RATIO = 0.65
SHORTFALL_TEXT = """Wanted is {wanted}. Everything runs on the same cores, so what a message costs all three \
processes together decides: {total:.0f} µs with relayq, {bare:.0f} µs bare. With all cores busy all the time that \
allows {possible:.2f}; for {wanted} the sum would have to be {allowed:.0f} µs. By the profiles (`perf record`, \
`python -m benchmarks.stages`):

- Of relayq's {own:.0f} µs about a sixth is system calls (TCP 14 µs, reading 4, the journal's two `write` 3) and a \
sixth is work on the content that cannot be left out (decoding the JSON, line ends, dots, SHA-256, copies). The rest \
is the interpreter, spread over a few hundred calls of which none takes more than a twentieth. The bare loop has no \
time limits, no journal, no limits and no routes.
- The broker's share depends on how much arrives at once, so publishes and acknowledgements are gathered for up to \
5 ms while it is busy. It is the same for mandatory publishes as for others, and \
for results of 340 octets as of 80, but a fifth lower with 60 sessions instead of 20, for relayq as for the bare loop: \
`ip-maxconnections` is the setting, and the receivers have to agree.

What would close it: a core more; an interpreter built with optimisation, if this one was not (see \
`sysconfig.get_config_var("CONFIG_ARGS")`), or a later one; the next envelope in one write with the content before it, \
which saves one of two round trips per message, but ties a message to a session whose last mail has no answer yet."""


def _macro(record: Record) -> Section:
    figures = record["figures"]
    summary = figures["summary"]
    rows = [
        ("messages per second, outbox to confirmed results", "per_second"),
        ("own CPU per message, µs", "own_us"),
        ("RabbitMQ's CPU per message, µs", "broker_us"),
        ("receiver's CPU per message, µs", "sink_us"),
        ("peak memory, MiB", "peak_mib"),
    ]
    shown = [
        (
            name,
            *(f"{summary[f'{who}_{key}']:,.0f}" if f"{who}_{key}" in summary else "" for who in ("relayq", "ceiling")),
        )
        for name, key in rows
    ]
    text = (
        f"## From the outbox to the results\n\n{figures['messages']:,} messages of {figures['size']:,} octets to "
        f"{figures['domains']} domain(s), medians of {figures['runs']} runs. The *ceiling* is the barest loop over the "
        f"same broker and receiver, without any check or feature, run in turn: what the machine allowed then.\n\n"
        + _table(("", "relayq", "ceiling"), shown)
    )
    if "throughput_ratio" in summary:
        text += f"\n\nrelayq reaches {summary['throughput_ratio']:.2f} of the ceiling."
    if "relayq_idle_share" in summary:
        text += f" {summary['relayq_idle_share']:.0%} of the machine was idle meanwhile."
    if figures["latency"]:
        latency = figures["latency"]
        text += (
            f" From publish to result at {latency['rate']:.0f} messages/s: p50 {latency['p50_ms']:.1f} ms, "
            f"p99 {latency['p99_ms']:.1f} ms."
        )
    if summary.get("throughput_ratio", WANTED_RATIO) < WANTED_RATIO:
        text += "\n\n" + _shortfall(summary)
    return text, {}


def _shortfall(summary: Mapping[str, float]) -> str:
    """Why the ratio to the ceiling is not what was wanted."""
    own, broker, sink = (summary[f"relayq_{who}_us"] for who in ("own", "broker", "sink"))
    bare = sum(summary[f"ceiling_{who}_us"] for who in ("own", "broker", "sink"))
    return SHORTFALL_TEXT.format(
        wanted=WANTED_RATIO, own=own, total=own + broker + sink, bare=bare, possible=bare / (own + broker + sink),
        allowed=bare / WANTED_RATIO,
    )  # fmt: skip


def _stages(record: Record) -> Section:
    figures = record["figures"]
    stages = sorted(figures["stages"], key=lambda stage: -stage["us"])
    rows = [(stage["stage"], f"{stage['us']:.1f}", f"{stage['us'] / figures['own_us']:.0%}") for stage in stages]
    text = (
        f"## Where the CPU goes\n\nOf {figures['own_us']:.0f} µs per message of {figures['size']:,} octets, by the "
        f"module that spent them. Writing to a socket counts for who writes.\n\n"
        + _table(("stage", "µs", "share"), rows)
        + "\n\n"
        + _picture("stages.svg", "CPU per stage")
    )
    return text, {"stages.svg": bars_svg("CPU per message", "µs", [(one["stage"], one["us"]) for one in stages])}


def _peers(record: Record) -> Section:
    servers = record["figures"]["servers"]
    rows = [
        (
            one["name"],
            f"{one['messages']:,}",
            f"{one['per_second']:,.0f}",
            f"{one['own_us']:,.0f}",
            f"{one['broker_us']:,.0f}" if one["broker_us"] else "–",
            one["durability"],
        )
        for one in servers
    ]
    head = ("server", "messages", "msg/s", "own CPU, µs", "broker's CPU, µs", "its queue")
    text = (
        "## Beside other servers\n\nThe same mail to the same receiver on the same machine, one after the other: "
        "each is filled while it may not send, then let go. relayq's queue is RabbitMQ, whose CPU is given beside its "
        "own.\n\n"
        + _table(head, rows)
        + "\n\n"
        + _beside_postfix(servers)
        + _picture("peers.svg", "Messages per second")
        + "\n\n"
        + _picture("peers-cpu.svg", "CPU per message")
    )
    return text, {
        "peers.svg": bars_svg("Messages", "per second", [(one["name"], one["per_second"]) for one in servers]),
        "peers-cpu.svg": bars_svg(
            "CPU per message, broker included",
            "µs",
            [(one["name"], one["own_us"] + one["broker_us"]) for one in servers],
        ),
    }


POSTFIX = {"Postfix, defaults, queue on disk": 4.0, "Postfix, tuned, queue in RAM": 2.0}
"""How many times as fast relayq is to be."""


def _beside_postfix(servers: list[dict[str, Any]]) -> str:
    """How the goals stand; nothing where one of the servers did not run."""
    by_name = {one["name"]: one for one in servers}
    ours = next((one for one in servers if one["name"].startswith("relayq")), None)
    if ours is None or not by_name.keys() >= POSTFIX.keys():
        return ""
    lines = []
    for name, wanted in POSTFIX.items():
        theirs = by_name[name]
        times = ours["per_second"] / theirs["per_second"]
        alone, together = (cpu / theirs["own_us"] for cpu in (ours["own_us"], ours["own_us"] + ours["broker_us"]))
        lines.append(
            f"- {name}: relayq is {times:.1f} times as fast (wanted: {wanted:.0f}), at {alone:.2f} of its CPU per "
            f"message (wanted: 0.25), {together:.2f} with RabbitMQ's."
        )
    missed = any(ours["per_second"] < wanted * by_name[name]["per_second"] for name, wanted in POSTFIX.items())
    if missed:
        lines.append(
            "\nWhere relayq is not as many times as fast as wanted, the machine is the limit: relayq, RabbitMQ and the "
            "receiver share its cores, and RabbitMQ alone takes more than relayq. More cores, or RabbitMQ on another "
            "machine, would close it."
        )
    return "\n".join(lines) + "\n\n"


TWO_WORKERS = 1.8
"""How many times as fast as one they are to be."""


def _workers(record: Record) -> Section:
    figures = record["figures"]
    rows = [
        (
            str(one["workers"]),
            f"{one['per_second']:,.0f}",
            f"{one['times']:.2f}",
            f"{one['own_us']:,.0f}",
            f"{one['first_result_s']:.2f}",
            f"{one['stop_s']:.2f}",
        )
        for one in figures["medians"]
    ]
    signed = "each signed with RSA-2048" if figures["dkim"] else "unsigned"
    pinned = ", relayq allowed as many cores as it has workers" if figures["pinned"] else ""
    head = ("workers", "msg/s", "times", "own CPU, µs", "start to first result, s", "stop under load, s")
    text = (
        f"## Several workers\n\n{figures['messages']:,} messages, {signed}{pinned}. Where the broker is the limit, "
        f"further workers bring nothing; a signature makes relayq the limit.\n\n" + _table(head, rows)
    )
    if len(figures["medians"]) > 1 and figures["medians"][1]["times"] < TWO_WORKERS:
        one, two = figures["medians"][:2]
        cpu = two["own_us"] / one["own_us"]
        text += (
            f"\n\nWanted is {TWO_WORKERS} for two. A message costs two workers {cpu:.2f} times the CPU it costs one, "
            "so they do not get in each other's way; but RabbitMQ and the receiver have to run somewhere: beside one "
            "worker on the core it leaves free, beside as many workers as cores on theirs. A core more would close it."
        )
    return text, {}


def _startup(record: Record) -> Section:
    figures = record["figures"]
    rows = [
        (str(one["workers"]), f"{one['first_mail_s']:.2f}", f"{one['ready_s']:.2f}", f"{one['cpu_s']:.2f}")
        for one in figures["medians"]
    ]
    head = ("workers", "to the first mail, s", "until all consume, s", "CPU until the first mail, s")
    text = (
        f"## Starting\n\nFrom the start of `relayq run` until a message that lay in the outbox ({figures['broker']}) "
        f"has arrived, medians of {figures['runs']} runs. CPU is that of all its processes.\n\n" + _table(head, rows)
    )
    return text, {}


AXES: dict[str, str] = {
    "depth": "Messages waiting in the outbox",
    "domains": "Recipient domains",
    "size": "Size of a message",
    "latency": "A server that takes its time, up to 5,000 sessions",
    "workers": "Workers, without signatures",
}


def _scale(record: Record) -> Section:
    parts = ["## Scale\n\nOne thing is varied at a time."]
    plots: dict[str, str] = {}
    for axis in record["figures"]["axes"]:
        name, points = axis["axis"], axis["points"]
        rows = [
            (
                f"{point['value']:,.0f}",
                f"{point['messages']:,.0f}",
                f"{point['per_second']:,.0f}",
                f"{point['own_us']:,.0f}",
                f"{point['peak_mib']:,.0f}",
            )
            for point in points
        ]
        head = (axis["unit"], "messages", "msg/s", "own CPU, µs", "peak memory, MiB")
        is_wide = points[0]["value"] > 0 and points[-1]["value"] / points[0]["value"] >= 100
        title = AXES[name]
        parts.append(f"### {title}\n\n{_table(head, rows)}\n\n{_picture(f'scale-{name}.svg', title)}")
        plots[f"scale-{name}.svg"] = lines_svg(
            title,
            axis["unit"],
            "messages per second",
            [Line("messages per second", tuple((point["value"], point["per_second"]) for point in points))],
            logarithmic=is_wide,
        )
    return "\n\n".join(parts), plots


def _soak(record: Record) -> Section:
    figures = record["figures"]
    words = {True: "kept", False: "**broken**", None: "run too short to tell"}
    rows = [
        (one["about"], f"{one['measured']:.2f}", f"{one['most']:g}", words[one["is_kept"]])
        for one in figures["verdicts"]
    ]
    samples = [one for one in figures["samples"] if one["second"] <= figures["minutes"] * 60 + 60]

    def line(name: str, key: str) -> Line:
        return Line(name, tuple((one["second"] / 60, float(one[key])) for one in samples))

    text = (
        f"## Soak\n\n{figures['minutes']:g} minutes at {figures['rate']:,.0f} messages per second, of which 2 % are "
        f"put off, 1 % lose their connection before the reply, and 2 % are refused. {figures['published']:,} messages: "
        f"{figures['successes']:,} delivered, {figures['failures']:,} refused for good, {figures['twice']:,} final "
        f"results came twice.\n\n"
        + _table(("what", "measured", "limit", ""), rows)
        + "\n\n"
        + "\n\n".join(_picture(f"soak-{name}.svg", name) for name in ("memory", "files", "queues"))
    )
    minutes = "minutes"
    return text, {
        "soak-memory.svg": lines_svg("Resident memory", minutes, "MiB", [line("relayq", "rss_mib")]),
        "soak-files.svg": lines_svg("Open files and sockets", minutes, "", [line("relayq", "open_fds")]),
        "soak-queues.svg": lines_svg(
            "Messages not finished",
            minutes,
            "messages",
            [line("in the outbox", "outbox"), line("held by relayq", "held")],
        ),
    }


_FAIRNESS_COLUMNS = (
    ("others, msg/s", "per_second", ",.0f"),
    ("share", "share", ".2f"),
    ("share of CPU", "cpu_share", ".2f"),
    ("relayq, µs", "own_us", ",.0f"),
    ("broker, µs", "broker_us", ",.0f"),
    ("receivers, µs", "sinks_us", ",.0f"),
)


def _fairness(record: Record) -> Section:
    figures = record["figures"]
    cases = figures["cases"]
    columns = [column for column in _FAIRNESS_COLUMNS if column[1] in cases[0]]
    rows = [(one["what"], *(format(one[key], form) for _, key, form in columns)) for one in cases]
    text = (
        f"## Fairness\n\n{figures['messages']:,} messages for {figures['domains']:,} domains, and among them, one of "
        f"{figures['every']}, those for a bad destination, with the outbox full from the start. What the others get, "
        f"in messages per second, beside a run without bad ones.\n\n"
        + _table(("the bad one", *(title for title, _, _ in columns)), rows)
    )
    if len(columns) > 2:  # records of earlier versions tell no more
        text += (
            "\n\nThe µs are CPU of all processes of that kind per message to the others. The *share of CPU* is made of "
            "them: how fast the others would be with nothing else on the machine. All processes share its cores, so a "
            "tenth more mail costs the others about a tenth even when its destination is healthy: the second line."
        )
    return text, {}


def _fairness_offered(record: Record) -> Section:
    figures = record["figures"]
    rows = [
        (
            one["what"],
            f"{one['per_second']:,.0f}",
            f"{one['per_second'] / figures['offered']:.2f}",
            f"{one['p50_ms']:,.0f}",
            f"{one['p99_ms']:,.0f}",
        )
        for one in figures["cases"]
    ]
    text = (
        f"## Fairness below capacity\n\nThe same destinations, but the mail comes at a rate: for the others "
        f"{figures['offered']:,.0f} messages per second, and besides, one of {figures['every']}, those for the bad "
        f"one; before all of them, in the last case, half as many again for it alone. *Share* is what the others get "
        f"of what is offered to them; the times are theirs, from publishing to the result.\n\n"
        + _table(("the bad one", "others, msg/s", "share", "p50, ms", "p99, ms"), rows)
    )
    return text, {}


def _journal(record: Record) -> Section:
    figures = record["figures"]
    rows = [(one["journal"], f"{one['own_us']:,.0f}", f"{one['per_second']:,.0f}") for one in figures["medians"]]
    text = "## The journal\n\nWhat surviving a crash without sending twice costs.\n\n"
    return text + _table(("journal", "own CPU, µs", "msg/s"), rows), {}


def _stores(record: Record) -> Section:
    figures = record["figures"]
    rows = [
        (
            one["store"],
            *(f"{one[what][key]:,.0f}" for what in ("save", "load", "delete") for key in ("wall_us", "own_us")),
        )
        for one in figures["stores"]
    ]
    head = ("store", *(f"{what}, {kind}" for what in ("save", "load", "delete") for kind in ("µs", "own CPU, µs")))
    text = (
        f"## Message stores\n\nPer body of 10 KB, {figures['tasks']} operations wanted at once; servers on the "
        f"same machine, nothing flushed to disk. Those of mongodb and s3 are made for tests: only the CPU tells "
        f"something there.\n\n" + _table(head, rows)
    )
    return text, {}


SIGNING_TEXT = """A mail of 10 KB with a newsletter's header; *bare* is the arithmetic alone. Around it lie the \
hash of the body (6 µs), the header made canonical (10 µs), and writing the field (5 µs). Threads of one worker \
share an interpreter: the arithmetic runs without its lock, handing over and writing the field do not, so two of \
them cannot sign twice as fast as one. Two workers share nothing. What they fall short of two is what the \
machine takes off two busy cores: memory, the kernel, and whoever else runs there. Signatures of several \
messages in one call of the library would bring threads closer; it has no such call."""
INLINING_TEXT = """Beside the bare engine (css-inline), whose output cannot be sent: it writes the document \
anew. relayq takes the document apart (a third of the time for a new structure), has the engine match a copy \
that holds only what decides what matches (a third), and edits the original. For documents of one template the \
engine is not asked again."""
ENGINE_TEXT = """One worker with the broker in memory, a real receiver and messages of one kind each. The lag is \
by how much a timer of the event loop is late. What RSA costs beyond signature and plain delivery: on their own, \
reading a JSON message with a key in it (6 µs more) and the way to the signature and back (3 µs) are a fortieth \
of it. The rest appears only when both take turns: the arithmetic empties the caches of the core that delivers, \
the more so the more others use them. With fewer workers than cores it is done on another core, in threads."""


def _goals(figures: Record) -> str:
    """What was asked for, and what it came to."""
    rows = [
        (
            one["what"],
            f"{one['measured']:,.2f}",
            f"at {one['kind']} {one['limit']:g} {one['unit']}".rstrip(),
            "met" if (one["measured"] - one["limit"]) * (1 if one["kind"] == "most" else -1) <= 0 else "**missed**",
        )
        for one in figures["goals"]
    ]
    return _table(("goal", "measured", "limit", ""), rows)


def _composing(title: str, explanation: str) -> Callable[[Record], Section]:
    def section(record: Record) -> Section:
        figures = record["figures"]
        rows = [(one["what"], f"{one['us']:,.1f}") for one in figures["cases"]]
        text = f"## {title}\n\n{explanation}\n\n" + _goals(figures) + "\n\n" + _table(("what", "CPU, µs"), rows)
        return text, {}

    return section


ENGINE_LAGS = {"lag_p50": "lag p50, ms", "lag_p99": "p99", "lag_max": "max"}
ENGINE_OWN = {"own_p99": "own p99", "own_max": "max"}
ENGINE_OWN_TEXT = """ It is that of the whole run, from before the first message on, with more messages in the \
outbox than can be delivered; *own* is the part of it in which the loop's thread can have worked, to which other \
processes do not add."""


def _engine(record: Record) -> Section:
    figures = record["figures"]
    has_own = all("own_p99" in one for one in figures["cases"])
    lags = ENGINE_LAGS | ENGINE_OWN if has_own else ENGINE_LAGS
    rows = [
        (
            one["case"],
            *(f"{one[key]:,.0f}" for key in ("rate", "worker_us", "all_us")),
            *(f"{one[key]:.1f}" for key in lags),
        )
        for one in figures["cases"]
    ]
    head = ("messages", "msg/s", "worker's CPU, µs", "with its helpers", *lags.values())
    text = (
        f"## Composing in a worker\n\n{ENGINE_TEXT}{ENGINE_OWN_TEXT if has_own else ''}\n\nA signature on its own took "
        f"{figures['signature_us']:.0f} µs.\n\n" + _goals(figures) + "\n\n" + _table(head, rows)
    )
    return text, {}


MEMORY_TEXT = """Of one message of 10 MB alone: how often the mail fits into the growth of all processes of relayq over
their idle memory. The goal is 3: the consumed JSON, which the results are made of, what goes out, and one for all that
happens in between."""
DRAIN_TEXT = """Of very many, of which 20 wait at any time: the goal is at most `rabbitmq-max-memory` and 100 MB, which
includes what relayq needs without any message."""


def _memory(record: Record) -> Section:
    figures = record["figures"]
    alone = [
        (one["kind"], _whole(one["idle_mib"]), _whole(one["peak_mib"]), f"{one['copies']:.1f}")
        for one in figures["alone"]
    ]
    drains = [
        (many["kind"], _whole(many["messages"]), _whole(many["max_memory_mib"]), _whole(many["idle_mib"]),
         _whole(many["peak_mib"]))
        for many in figures["drains"]
    ]  # fmt: skip
    text = f"## Memory for large messages\n\n{MEMORY_TEXT}\n\n"
    text += _table(("Content", "idle, MiB", "peak, MiB", "copies"), alone)
    if drains:
        head = ("Content", "messages", "`rabbitmq-max-memory`, MB", "idle, MiB", "peak, MiB")
        text += f"\n\n{DRAIN_TEXT}\n\n" + _table(head, drains)
    return text, {}


SECTIONS: dict[str, Callable[[Record], Section]] = {
    "macro": _macro,
    "stages": _stages,
    "peers": _peers,
    "workers": _workers,
    "startup": _startup,
    "scale": _scale,
    "fairness": _fairness,
    "fairness_offered": _fairness_offered,
    "journal": _journal,
    "stores": _stores,
    "compose_dkim": _composing("Signing", SIGNING_TEXT),
    "compose_css": _composing("Inlining style sheets", INLINING_TEXT),
    "compose_template": _composing("Personalising", "Templates are compiled already where nothing else is said."),
    "compose_responsive": _composing("Composing described messages", "From the JSON object to the octets."),
    "compose_engine": _engine,
    "memory": _memory,
    "soak": _soak,
}


def build() -> dict[Path, str]:
    """Every file with its text; a benchmark without a record has no section."""
    parts = [HEAD.rstrip()]
    files: dict[Path, str] = {}
    for name, section in SECTIONS.items():
        path = RECORDS / f"{name}.json"
        if not path.exists():
            continue
        record: Record = json.loads(path.read_text(encoding="utf-8"))
        text, plots = section(record)
        parts.append(f"{text}\n\n{_where(record)}")
        files |= {PLOTS / plot: svg for plot, svg in plots.items()}
    files[PAGE] = "\n\n".join(parts) + "\n"
    return files


def main() -> int:
    """Write or compare; 1 when something is stale."""
    files = build()
    left = set(PLOTS.glob("*.svg")) - set(files)
    if "--check" in sys.argv[1:]:
        stale = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
        for path in (*stale, *left):
            print(f"{path.relative_to(ROOT)} is stale: run python {Path(__file__).relative_to(ROOT)}", file=sys.stderr)
        return int(bool(stale or left))
    PLOTS.mkdir(exist_ok=True)
    for path in left:
        path.unlink()
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
