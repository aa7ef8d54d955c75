"""Tables of benchmarks: what a script of bench/ measured and wrote with `--json`."""

import json
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from cpu1.model.ladder import LADDER
from tables.cells import signed
from tables.results import bench, benches
from tables.table import Table, table

PEERS = ("llama.cpp, TQ2_0", "llama.cpp, Q4_K, half the layers")  # as bench/peers.py names them
WORK = ("generate", "prompt")
RATES = {"bfloat16": "bf16", "float32": "fp32"}
FORMS = {"eager": "single kernels", "graphs": "a CUDA graph", "compiled": "compiled"}


@table("peers")
def peers() -> Table:
    """Our engine and llama.cpp on each processor, as `bench/peers.py --keep` measured them, each in one run."""
    lines = []
    for found in benches("peers"):
        over = found["over"]
        ratios = [f"× {over[name][what]:.1f}" if name in over else "" for what in WORK for name in PEERS]
        ours = found["contestants"]["run_07, gate never deletes"]
        lines.append([found["processor"], found["isa"], f"{ours['generate']:,.0f}", *ratios])
    heads = [f"{what}, over {name}" for what in ("generates", "reads") for name in ("TQ2_0", "Q4_K")]
    return Table(["processor", "instruction set", "steps a second", *heads], "llrrrrr", lines)


@table("engines")
def engines() -> Table:
    """Every contestant of `bench/peers.py` on every processor."""
    lines = []
    for found in benches("peers"):
        for name, row in found["contestants"].items():
            rates = f"{row['generate']:,.0f}", f"{row['prompt']:,.0f}"
            lines.append([found["processor"], found["isa"], name, *rates, f"{row['file_bytes'] / 1e6:.1f} MB"])
    heads = ["processor", "instruction set", "contestant", "generated a second", "read of a prompt a second", "file"]
    return Table(heads, "lllrrr", lines)


@table("threads")
def threads() -> Table:
    """One stream on several threads, as `bench/threads.py --json` measured it."""
    lines = [
        [row["scale"], str(row["threads"]), f"{row['generate']:,.0f}", f"× {row['generate_over_first']:.2f}",
         f"{row['prompt']:,.0f}", f"× {row['prompt_over_first']:.2f}"]
        for row in bench("threads")["rows"]
    ]  # fmt: skip
    return Table(["scale", "threads", "generated a second", "ratio", "read a second", "ratio "], "lrrrrr", lines)


@table("start")
def start() -> Table:
    """The C program's first byte and memory, as `bench/start.py` measured them."""
    lines = [
        [row["model"], f"{row['file_bytes'] / 1e6:.1f} MB", f"{row['first_byte_ms']:.1f} ms",
         "{:.1f} to {:.1f} ms".format(*row["quarters_ms"]), f"{row['resident_mb']:.1f} MB"]
        for row in bench("start")["rows"]
    ]  # fmt: skip
    return Table(["model", "file", "first byte after", "half of the runs", "memory"], "lrrrr", lines)


@table("training-speed")
def training_speed() -> Table:
    """Training throughput by scale, as `bench/training.py --json` measured each."""
    rows = []
    for found in sorted(benches("training"), key=lambda found: (found["processor"], found["bytes_per_s"])):
        size, speed = f"{found['batch_bytes'] // 1024} KB", f"{found['bytes_per_s'] / 1e3:.1f} KB/s"
        ratios = f"{found['fraction_of_peak']:.0%}", f"{found['ratio_to_eager']:.1f}"
        rate = RATES[found["peak_dtype"]]
        rows.append([found["processor"], found["scale"], size, speed, f"{ratios[0]} of {rate}", ratios[1],
                     f"{found['rss_bytes'] / 1e6:,.0f} MB"])  # fmt: skip
    head = ["processor", "run 07", "a step", "two threads", "of the matrix rate", "times plain eager fp32", "memory"]
    return Table(head, "llrrrrr", rows)


@table("gpu-speed")
def gpu_speed() -> Table:
    """Training speed on a GPU by form of the step, as `make gpu` measured it."""
    rows = [
        [line["run"], line["scale"], f"{line['batch_bytes'] // 1024} KB", FORMS[line["mode"]],
         f"{1e3 * line['seconds']:.1f} ms", f"{line['bytes_per_s'] / 1e6:.2f} MB/s", f"{line['fraction_of_bf16']:.1%}"]
        for line in bench("gpu-h100")["lines"] if line["kind"] == "speed"
    ]  # fmt: skip
    return Table(["run", "scale", "a step", "as", "takes", "text", "of the bf16 rate"], "lllllrr", rows)


@table("generation")
def generation() -> Table:
    """Generation speed of the byte-level runs by scale, as `bench/generation.py --json` measured each."""
    rows = {s: {row["run"]: row for row in bench(f"generation-{s}")["rows"]} for s in ("nano", "small", "base")}
    lines = []
    for run in rows["base"]:
        rung = LADDER[run]
        speeds = (f"{runs[run]['bytes_per_s'] / 1e3:,.1f}" for runs in rows.values())
        over = (f"× {runs[run]['over_parent']:.2f}" if runs[run]["over_parent"] else "" for runs in rows.values())
        lines.append([run, rung.title, *speeds, rung.parent or "", *over])
    return Table(["run", "is", *(f"{scale}, KB/s" for scale in rows), "parent", *rows], "llrrrlrrr", lines)


@table("generation-short")
def generation_short() -> Table:
    columns = "run", "is", "nano, KB/s", "small, KB/s", "base, KB/s"
    return generation().columns(*columns).where("run", "02", "03", "04", "05", "06", "07", "08", "09", "10")


def endings() -> dict[str, dict[str, dict[str, Any]]]:
    """How every run ended, by the heading of the setting that it was trained with: `bench/stability.py --json`."""
    found = {}
    for file in benches("stability"):
        stress = f", rate × {file['stress']:g}" if file["stress"] else ""
        found[f"{file['scale']}, {file['steps']:,} steps{stress}"] = {row["run"]: row for row in file["rows"]}
    return found


@table("stability")
def stability() -> Table:
    """How every run ended with the third round's settings, and under stress."""
    found = endings()
    runs = list(dict.fromkeys(run for rows in found.values() for run in rows))
    lines = [[run, *(ending(rows.get(run)) for rows in found.values())] for run in runs]
    return Table(["run", *found], "l" + "r" * len(found), lines)


def ending(row: dict[str, Any] | None) -> str:
    """BPB of a run that trained, with its non-finite steps; or when a guard stopped it."""
    if row is None:
        return ""
    if row["ended"] != "trained":
        return f"{row['ended']} at {row['steps']:,}"
    odd = f" ({row['nonfinite_steps']} non-finite)" if row["nonfinite_steps"] else ""
    return f"{row['bpb']:.3f}{odd}"


@table("stability-short")
def stability_short() -> Table:
    """How many runs trained to their end under each setting."""
    lines = []
    for heading, rows in endings().items():
        trained = [row for row in rows.values() if row["ended"] == "trained"]
        odd = sum(row["nonfinite_steps"] for row in trained)
        lines.append([heading, *map(str, (len(rows), len(trained), len(rows) - len(trained), odd))])
    head = ["setting", "runs", "trained to the end", "stopped by a guard", "non-finite steps of those that trained"]
    return Table(head, "lrrrr", lines)


COMPRESSORS = ("cpu1", "zpaq -m5", "7z PPMd o=16", "brotli -11", "xz -9e", "zstd --ultra -22")


@table("compression")
def compression() -> Table:
    """Bits per byte by our compressor and the usual ones, as `bench/compress.py --json` measured them."""
    lines = []
    for file, methods in bench("compress").items():
        found = (f"{methods[name]['bits_per_byte']:.3f}" for name in COMPRESSORS)
        lines.append([f"{file}, {methods['plain']['bytes'] / 1e3:,.0f} KB", *found])
    return Table(["text", *COMPRESSORS], "lrrrrrr", lines)


@table("compression-speed")
def compression_speed() -> Table:
    """Speeds on the same texts: medians over them."""
    lines = []
    for name in ("cpu1", "cpu1 --frozen", *COMPRESSORS[1:]):
        rows = [methods[name] for methods in bench("compress").values()]
        speeds = (1e3 * median(row[way] for row in rows) for way in ("mb_per_s", "mb_per_s_back"))
        lines.append([name, *(f"{speed:,.0f}" for speed in speeds)])
    return Table(["compressor", "KB/s", "KB/s back"], "lrr", lines)


ARCHIVES = ("cpu1", "paq9a", *COMPRESSORS[1:])


@table("archives")
def archives() -> Table:
    """The same for two files of each kind of text (`bench/kinds.py`), the best compressor in bold."""
    lines = []
    for file, methods in bench("archives").items():
        found = {name: methods[name]["bits_per_byte"] for name in ARCHIVES}
        best = min(found.values())
        cells = (f"**{value:.3f}**" if value == best else f"{value:.3f}" for value in found.values())
        lines.append([file, f"{methods['plain']['bytes'] / 1e3:,.0f}", *cells])
    return Table(["file", "KB", *ARCHIVES], "l" + "r" * (len(ARCHIVES) + 1), lines)


@table("archives-short")
def archives_short() -> Table:
    """How our archives of those files compare with each other compressor's."""
    lines = []
    for name in ARCHIVES[1:]:
        shares = [rows["cpu1"]["bytes"] / rows[name]["bytes"] for rows in bench("archives").values()]
        won = sum(share < 1 for share in shares)
        lines.append([name, f"{won} of {len(shares)}", f"{1 - fmean(shares):.0%}", f"{1 - max(shares):.0%}"])
    return Table(["compressor", "our archive is smaller", "in the mean by", "at least by"], "lrrr", lines)


@table("language-models")
def language_models() -> Table:
    """Bits per byte of each text by our models and another one (`bench/language_models.py`), the best in bold."""
    found = bench("language-models")
    lines = []
    for text, size in found["bytes"].items():
        bits = [row["bits"][text] / size for row in found["rows"]]
        best = min(bits)
        lines.append([text, *(f"**{value:.3f}**" if value == best else f"{value:.3f}" for value in bits)])
    return Table(["text", *(row["model"] for row in found["rows"])], "l" + "r" * len(found["rows"]), lines)


@table("language-models-short")
def language_models_short() -> Table:
    """The same models: size, speed, and how many texts they predict better than the other one."""
    found = bench("language-models")
    other, lines = found["rows"][0], []
    for row in found["rows"]:
        bits = fmean(row["bits"][text] / size for text, size in found["bytes"].items())
        speed = median(size / row["seconds"][text] for text, size in found["bytes"].items())
        won = sum(row["bits"][text] < other["bits"][text] for text in found["bytes"])
        cells = f"{row['file_bytes'] / 1e6:.1f} MB", f"{speed / 1e3:.1f}", f"{bits:.3f}"
        lines.append([row["model"], *cells, "" if row is other else f"{won} of {len(found['bytes'])}"])
    heads = ["model", "file", "KB/s read", "bits per byte, mean", f"better than {other['model'].partition('.')[0]}"]
    return Table(heads, "lrrrr", lines)


@table("table-sizes")
def table_sizes() -> Table:
    """Runs by file and speed, whatever was changed of them: `bench/equal_file.py --json`."""
    return _by_file(bench("equal-file")["rows"])


@table("equal-file")
def equal_file() -> Table:
    """The same without the tables of other sizes: runs as they are, and run 04 at several widths."""
    return _by_file([row for row in bench("equal-file")["rows"] if row["changes"].keys() <= {"width"}])


@table("twins")
def twins() -> Table:
    """Ternary beside full precision in three forms: `bench/twins.py --out`."""
    lines = [
        [row["run"], row["weights"], str(row["width"]), f"{row['file_bytes'] / 1e3:,.0f} KB",
         f"{row['bytes_per_s'] / 1e3:.0f}" if row["bytes_per_s"] else "", f"{row['window_bpb']:.3f}",
         f"{row['document_bpb']:.3f}"]
        for row in sorted(bench("twins")["rows"], key=lambda row: (row["run"], row["file_bytes"]))
    ]  # fmt: skip
    return Table(["run", "weights", "width", "file", "KB/s", "windows", "documents"], "llrrrrr", lines)


def _by_file(rows: list[dict[str, Any]]) -> Table:
    plain = next(row for row in rows if row["run"] == "04" and not row["changes"])
    lines = [
        [row["run"], differently(row), f"{row['file_bytes'] / 1e3:,.0f} KB",
         f"× {row['bytes_per_s'] / plain['bytes_per_s']:.2f}", f"{row['window_bpb']:.3f}", f"{row['document_bpb']:.3f}"]
        for row in sorted(rows, key=lambda row: row["file_bytes"])
    ]  # fmt: skip
    return Table(["run", "changed", "file", "generates", "windows", "documents"], "llrrrr", lines)


def differently(row: dict[str, Any]) -> str:
    """What was changed of a run, as `--with` takes it; empty for nothing."""
    return ", ".join(f"`{name}={json.dumps(value)}`" for name, value in row["changes"].items())


@table("shares")
def shares() -> Table:
    """Documents of held-out texts, by the share of other kinds in training: `bench/documents.py --all --json`."""
    lines = []
    for name, found in bench("shares").items():
        figures = [found[share]["document_bpb"] for share in found]
        gains = (signed(f"{figure / figures[0] - 1:+.1%}") for figure in figures[1:])
        lines.append([name, *(f"{figure:.3f}" for figure in figures), *gains])
    heads = [f"{share}%" for share in found]
    return Table(["text", *heads, *(f"{head} less none" for head in heads[1:])], "lrrrrrrr", lines)


@table("lookups-texts")
def lookups_texts() -> Table:
    """Run 18 beside run 04 on texts that neither has read: `bench/documents.py --all --json` of each text."""
    lines = []
    for name, (plain, ours) in bench("lookups-texts").items():
        figures = (row[key] for key in ("window_bpb", "document_bpb") for row in (plain, ours))
        less = signed(f"{ours['document_bpb'] / plain['document_bpb'] - 1:+.1%}")
        lines.append([name, f"{plain['document_bytes']:,}", *(f"{figure:.3f}" for figure in figures), less])
    return Table(["text", "bytes", "windows, 04", "18", "documents, 04", "18", "less"], "lrrrrrr", lines)


@table("documents")
def documents() -> Table:
    """What a longer context alone brings: both figures of every run at nano scale, by `bench/documents.py --json`."""
    rows = {row["run"]: row for row in bench("documents-nano")["rows"]}
    lines = []
    for run in (run for run in LADDER if run in rows):
        window, whole = rows[run]["window_bpb"], rows[run]["document_bpb"]
        lines.append([run, LADDER[run].title, f"{window:.3f}", f"{whole:.3f}", signed(f"{whole / window - 1:+.1%}")])
    return Table(["run", "is", "windows", "documents", "difference"], "llrrr", lines)


@table("noise")
def noise() -> Table:
    """How much of a gradient's noise a teacher takes away: `bench/lessons.py --json`."""
    lines = []
    for found in benches("lessons"):
        text, *taught = found["rows"]
        for row in taught:
            weights = f"{found['run']}, {found['scale']}, {found['units'] / 1e6:.0f} MB"
            alike = f"{text['windows_alike']:.1f}", f"{row['windows_alike']:.1f}"
            lines.append([weights, found["lessons"], f"{row['alpha']:g}", signed(f"{row['of_first'] - 1:.0%}"), *alike])
    head = ["weights of run", "teacher", "alpha", "noise", "noise scale without", "with"]
    return Table(head, "llrrrr", lines)


@table("teacher")
def teacher() -> Table:
    """A teacher's tokens and bytes in the same windows: `bench/teacher.py --json`."""
    lines = []
    for found in benches("teacher"):
        windows = f"{found['bytes']:,}", f"{found['window']:,}", f"{found['context']:,}", f"{found['token_bpb']:.4f}"
        for row in found["shares"]:
            less = signed(f"{row['bpb'] - found['token_bpb']:+.4f}")
            apart = (f"{row['kl']:.3f}", f"{row['far']:.1%}") if "kl" in row else ("", "")
            lines.append([*windows, f"{row['share']:g}", f"{row['bpb']:.4f}", less, *apart])
    read = "bytes", "window", "of it context", "tokens"
    head = [*read, "`--share`", "bytes' chain", "less tokens", "KL, bits", "bytes > 0.1"]
    return Table(head, "rrrrrrrrr", lines)


@table("teacher-short")
def teacher_short() -> Table:
    return teacher().columns("bytes", "window", "of it context", "`--share`", "tokens", "bytes' chain", "less tokens")


@table("fine-tuning")
def fine_tuning() -> Table:
    """Bits per byte before and after fine-tuning, as `bench/finetune.py` measured them on each text."""
    names = {"novel": "one novel", "spanish": "Spanish books", "packed": "one novel"}
    lines = []
    for name, text in names.items():
        for row in bench(f"finetune-{name}")["rows"]:
            start = "from scratch" if row["from"] == "scratch" else f"`{row['from']}`"
            own, other = ([scored(row, when, which) for when in ("before", "after")] for which in ("own", "other"))
            lines.append([text, start, f"{row['bytes_seen'] / 1e6:.1f} MB", *own, *other])
    head = ["text", "starts from", "trained on", "before", "after", "English books before", "after"]
    return Table(head, "llrrrrr", lines)


def scored(row: dict[str, Any], when: str, which: str) -> str:
    """Bits per byte; empty for a model that did not exist before."""
    return f"{row[when][which]['bpb']:.3f}" if when in row else ""


ADAPTED = {"author": "one novel", "radio": "radio chat", "code": "Python code"}
ADAPTED_WAYS = {
    "shipped": "as it ships",
    "shipped, learning": "learns from the held-out text alone",
    "reading": "read the text",
    "trained": "trained",
    "trained, learning": "trained, learns from the held-out text",
    "trained, reading": "trained, then read the text",
    "scratch": "small model from nothing, trained",
}


def adapted() -> dict[str, dict[str, dict[str, Any]]]:
    """Figures by text and way, as `bench/adapt.py` measured them."""
    found = bench("adapt")
    return {name: {row["way"]: row for row in found[name]["rows"] if "way" in row} for name in ADAPTED if name in found}


@table("adapting")
def adapting() -> Table:
    """Bits per byte of the held-out tenth of three texts, and what that is less than the bundled model needs."""
    rows, lines = adapted(), []
    for way, words in ADAPTED_WAYS.items():
        cells = []
        for text in rows.values():
            bits, before = text[way]["bpb"], text["shipped"]["bpb"]
            change = signed(f" ({bits / before - 1:+.0%})") if way != "shipped" else ""
            cells.append(f"{bits:.3f}{change}")
        lines.append([words, *cells])
    return Table(["the model", *(ADAPTED[name] for name in rows)], "l" + "r" * len(rows), lines)


@table("adapting-cost")
def adapting_cost() -> Table:
    """Seconds of the clock and of the processor, and sizes of files, for the same ways."""
    rows, lines = adapted(), []
    for way in ("reading", "trained", "trained, reading", "scratch"):
        cells = [f"{text[way]['seconds']:,.0f} s ({text[way]['cpu_seconds']:,.0f} s)" for text in rows.values()]
        sizes = [text[way]["file_bytes"] / 1e6 for text in rows.values()]
        lines.append([ADAPTED_WAYS[way], *cells, f"{max(sizes):.1f} MB"])
    return Table(["the model", *(ADAPTED[name] for name in rows), "files"], "l" + "r" * (len(rows) + 1), lines)


@table("adapting-trainings")
def adapting_trainings() -> Table:
    """How far each training came in its minutes."""
    found, lines = bench("adapt"), []
    names = {"trained": "bundled", "scratch": "from nothing"}
    for name in (name for name in ADAPTED if name in found):
        for row in found[name]["rows"]:
            if "training" in row:
                best = min(row["looks"], key=lambda look: look[1])
                lines.append([ADAPTED[name], names[row["training"]], f"{row['steps']} of {row['of_steps']}",
                              f"{row['passes']:.1f}", f"{row['rate']:.4f}", f"{best[0]}"])  # fmt: skip
    return Table(["text", "starts from", "steps", "passes", "peak rate", "best at step"], "llrrrr", lines)


MESSAGE_SETS = ("dialogue", "sentences", "radio")


@table("messages")
def messages() -> Table:
    """Share of a message's bytes that its code has, as `bench/messages.py --json` measured it."""
    sets = bench("messages")["sets"]
    last = sets[MESSAGE_SETS[-1]]["methods"]
    lines = [["a message, bytes", *(f"{sets[name]['bytes']:.1f}" for name in MESSAGE_SETS), "", ""]]
    for method, row in sorted(
        last.items(), key=lambda item: -sum(s["methods"][item[0]]["share"] for s in sets.values())
    ):
        shares = (f"{sets[name]['methods'][method]['share']:.0%}" for name in MESSAGE_SETS)
        sizes = (f"{row[kind] / 1e6:.1f} MB" for kind in ("data_bytes", "program_bytes"))
        lines.append([method, *shares, *sizes])
    return Table(["codec", *MESSAGE_SETS, "model or dictionary", "programs"], "lrrrrr", lines)


@table("messages-speed")
def messages_speed() -> Table:
    """Milliseconds a message on the same sets: medians over them."""
    sets, lines = bench("messages")["sets"], []
    for method in sets[MESSAGE_SETS[0]]["methods"]:
        rows = [sets[name]["methods"][method] for name in MESSAGE_SETS]
        lines.append([method, *(f"{median(row[way] for row in rows):.3g}" for way in ("ms", "ms_back"))])
    return Table(["codec", "ms to encode", "ms to decode"], "lrr", lines)


@table("message-text")
def message_text() -> Table:
    """Forms of codes as text, over all messages of the three sets."""
    sets, lines = bench("messages")["sets"], []
    for form in sets[MESSAGE_SETS[0]]["text_forms"]:
        rows = [sets[name]["text_forms"][form] for name in MESSAGE_SETS]
        cells = (median(row[kind] for row in rows) for kind in ("characters", "septets"))
        escapes = "yes" if any(row["escapes"] for row in rows) else "no"
        lines.append([form, *(f"{cell:.3f}" for cell in cells), escapes])
    return Table(["form", "characters", "septets", "escapes in JSON"], "lrrl", lines)


@table("message-ends")
def message_ends() -> Table:
    """Bits for the end of a message: by the separator, and by its length."""
    sets = bench("messages")["sets"]
    lines = [[how, *(f"{sets[name]['endings'][kind]:.1f}" for name in MESSAGE_SETS)]
             for how, kind in (("separator", "separator_bits"), ("length", "length_bits"))]  # fmt: skip
    return Table(["end", *MESSAGE_SETS], "lrrr", lines)


BROWSERS = {"relaxed": "Chromium, relaxed SIMD", "plain": "Chromium, SIMD", "portable": "native, `portable`"}


@table("browser")
def browser() -> Table:
    """Speed in a page against the native engine, on one thread, as `bench/browser.py --json` measured it."""
    engines = bench("browser")["engines"]
    best = next(name for name in engines if name not in BROWSERS)
    lines = []
    for name, row in engines.items():
        speeds = (f"{row[f'{what}_kb_per_s']:.1f} ({row[f'{what}_of_{best}']:.2f})" for what in ("generate", "score"))
        first = f"{row['first_text_ms']:,} ms" if "first_text_ms" in row else ""
        lines.append([BROWSERS.get(name, f"native, `{name}`"), *speeds, first])
    return Table(["engine", "generated, KB/s", "scored, KB/s", "from the page to the first text"], "lrrr", lines)


JUDGES = {
    "cpu1": "cpu1",
    "KenLM, 5-grams of words": "KenLM, words",
    "KenLM, 6-grams of characters": "KenLM, characters",
    "zstd -19": "zstd -19",
    "word list": "word list",
}


@table("judging")
def judging() -> Table:
    """Areas under the ROC curve at 1,000 bytes, as `bench/judge.py --json` measured them."""
    methods = bench("judge")["methods"]
    lines = []
    for kind in methods["cpu1"]["kinds"]:
        areas = (methods[name]["kinds"][kind]["1000"]["auc"] for name in JUDGES)
        lines.append([kind, *(f"{area:.3f} [{low:.2f}, {high:.2f}]" for area, low, high in areas)])
    return Table(["against clean text", *JUDGES.values()], "lrrrrr", lines)


@table("judging-lengths")
def judging_lengths() -> Table:
    """The same areas by the length of a text, of the two best."""
    methods = bench("judge")["methods"]
    ours, theirs = (methods[name]["kinds"] for name in ("cpu1", "KenLM, 6-grams of characters"))
    lengths = ("200", "1000", "4000")
    lines = [
        [kind, *(f"{kinds[kind][length]['auc'][0]:.3f}" for kinds in (ours, theirs) for length in lengths)]
        for kind in ours
    ]
    names = [f"{name}, {int(length):,}" for name in ("cpu1", "KenLM") for length in lengths]
    return Table(["bytes", *names], "lrrrrrr", lines)


@table("judging-pairs")
def judging_pairs() -> Table:
    """How often the damaged one of two readings has the worse figure, at 200 bytes."""
    methods = bench("judge")["methods"]
    lines = [
        [kind, *(f"{methods[name]['kinds'][kind]['200']['found']:.1%}" for name in JUDGES)]
        for kind, row in methods["cpu1"]["kinds"].items()
        if "found" in row["200"]
    ]
    return Table(["damage", *JUDGES.values()], "lrrrrr", lines)


@table("judging-speed")
def judging_speed() -> Table:
    """Speed on one core by the length of a text, and what a method needs to have on disk."""
    methods, lines = bench("judge")["methods"], []
    for name, short in JUDGES.items():
        speeds = (f"{speed:.2g}" for speed in methods[name]["mb_per_s"].values())
        lines.append([short, *speeds, f"{methods[name]['data_bytes'] / 1e6:.1f} MB"])
    return Table(["MB/s of texts of", "200 bytes", "1,000 bytes", "4,000 bytes", "data"], "lrrrr", lines)


@table("judging-verdicts")
def judging_verdicts() -> Table:
    """Shares of texts by verdict, of 200 and of 1,000 bytes."""
    lines = []
    for kind, row in bench("judge")["verdicts"].items():
        cells = [
            f"{row[length][level]:.0%}" for length in ("200", "1000") for level in ("above_95", "above_99", "below_1")
        ]
        lines.append([kind, *cells])
    head = [f"{length}: {level}" for length in ("200", "1,000") for level in ("95 or more", "99 or more", "below 1")]
    return Table(["bytes: percentile", *head], "lrrrrrr", lines)


@table("filter")
def filtered() -> Table:
    """A filtered corpus, as `bench/filter_corpus.py --json` measured it."""
    lines = []
    for name, row in bench("filter")["methods"].items():
        figures = (f"{each[0]:.1%} [{each[1]:.0%}, {each[2]:.0%}]" for each in (row["precision"], row["break_even"]))
        lines.append([JUDGES[name], *figures, f"{row['s_per_mb']:.2g}"])
    return Table(["method", "precision at 90% recall", "break-even point", "s a MB, one core"], "lrrr", lines)


@table("filter-kinds")
def filtered_kinds() -> Table:
    """What is kept of each kind of document, where 90% of the clean ones are."""
    methods = bench("filter")["methods"]
    kinds = next(iter(methods.values()))["kept"]
    lines = [[kind, *(f"{row['kept'][kind]:.0%}" for row in methods.values())] for kind in kinds]
    return Table(["kept of", *(JUDGES[name] for name in methods)], "l" + "r" * len(methods), lines)


TYPED = {"kept": "kept, in the process", "pipe": "kept, `cpu1 complete --stdin`", "new": "a new session each"}


@table("typing")
def typing() -> Table:
    """Milliseconds a key takes, as `bench/keystrokes.py` measured it."""
    lines = []
    for context, ways in bench("typing")["contexts"].items():
        for way, name in TYPED.items():
            row = ways[way]
            lines.append(
                [f"{int(context):,}", name, f"{row['keys']:,}", f"{row['p50_ms']:.1f}", f"{row['p99_ms']:.1f}"]
            )
    return Table(["characters before", "what was read", "keys", "p50, ms", "p99, ms"], "rlrrr", lines)


@table("typing-histogram")
def typing_histogram() -> Table:
    """Shares of keys by the milliseconds they take, after 2,048 characters."""
    found = bench("typing")
    counts = {way: found["contexts"]["2048"][way] for way in TYPED}
    bounds = found["bounds_ms"]
    names = [f"less than {bounds[0]}", *(f"{low} to {high}" for low, high in pairwise(bounds))]
    lines = [
        [name, *(f"{row['histogram'][place] / row['keys']:.1%}" for row in counts.values())]
        for place, name in enumerate([*names, f"{bounds[-1]} or more"])
        if any(row["histogram"][place] for row in counts.values())
    ]
    return Table(["milliseconds", *TYPED.values()], "lrrr", lines)
