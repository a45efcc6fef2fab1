"""The page of `latkit report`: what is on it, what it may never hold, and what has none."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import latkit
from devices import DeviceSpec
from export.bundle.output_parity import output_parity, parity_json
from export.page.axis import Axis, nice_step, span, tick_texts
from export.page.elements import el, to_html
from export.page.ink import flat, without_paths
from lut import LatencyTable, latency_model, load_table, table_for
from lut.agreement import accuracy_among, agreement
from search.answers import read_answers, write_answers
from search.searcher import Candidate
from tests.export.page.report_pages import HOSTILE, SPACE, Reported, reported

KINDS = ("table", "answers", "deployment")


class Parsed(HTMLParser):
    """What stands in a page: texts, tags, what marks say, and where attributes lead."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.says: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.labels: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} has the handler {name}"
            if name in ("href", "src", "action", "data"):
                self.links.append(value or "")
            if name == "data-says":
                self.says.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            if name == "aria-label":
                self.labels.append(value or "")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def files(
    tmp_path_factory: pytest.TempPathFactory,
    make_table: Callable[..., LatencyTable],
    noisy: DeviceSpec,
) -> Reported:
    return reported(tmp_path_factory.mktemp("report"), make_table, noisy)


@pytest.fixture(scope="module")
def pages(files: Reported, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The pages as a user makes them, by kind."""
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for kind in KINDS:
        path, page = getattr(files, kind), folder / f"{kind}.html"
        layers = ["--table", str(files.table)] if kind != "table" else []
        assert latkit.main(["report", str(path), "-o", str(page), *layers]) == 0
        found[kind] = page.read_text()
    return found


every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_a_page_is_small_and_reaches_nothing_outside_itself(
    pages: dict[str, str], kind: str
) -> None:
    content = pages[kind]
    assert len(content.encode()) < 2_000_000
    links = Parsed(content).links
    assert links
    assert all(link.startswith("#") or link == "data:," for link in links)
    assert not re.search(r"(https?:)?//[a-z]|@import|url\(", content.partition("<main")[0])
    assert "default-src 'none'" in content


@every_kind
def test_links_of_a_page_lead_somewhere_and_names_are_unique(
    pages: dict[str, str], kind: str
) -> None:
    parsed = Parsed(pages[kind])
    assert len(set(parsed.ids)) == len(parsed.ids)
    anchors = {link[1:] for link in parsed.links if link.startswith("#")}
    assert anchors
    assert anchors <= set(parsed.ids)


@every_kind
def test_a_page_has_landmarks_and_every_chart_a_name_and_a_table(
    pages: dict[str, str], kind: str
) -> None:
    parsed = Parsed(pages[kind])
    for landmark in ("header", "nav", "main", "footer", "h1"):
        assert parsed.tags.count(landmark) == 1
    charts = re.findall(r'<svg class="chart"[^>]*>', pages[kind])
    assert charts
    assert all(re.search(r'aria-label="[^"]{20,}"', chart) for chart in charts)
    assert "table" in parsed.tags


@every_kind
def test_what_files_call_things_never_becomes_markup(pages: dict[str, str], kind: str) -> None:
    parsed = Parsed(pages[kind])
    assert parsed.tags.count("script") == 1
    assert "img" not in parsed.tags
    assert HOSTILE in parsed.text


@every_kind
def test_a_page_names_no_folder_of_the_machine(
    pages: dict[str, str], files: Reported, kind: str
) -> None:
    for folder in (files.table.parent, files.answers.parent, Path("/home/someone"), Path.home()):
        assert str(folder) not in pages[kind]


@every_kind
def test_the_same_files_make_the_same_page(
    pages: dict[str, str], files: Reported, kind: str, tmp_path: Path
) -> None:
    again = tmp_path / "again.html"
    layers = ["--table", str(files.table)] if kind != "table" else []
    assert latkit.main(["report", str(getattr(files, kind)), "-o", str(again), *layers]) == 0
    assert again.read_text() == pages[kind]


def test_the_page_of_a_table_shows_its_errors_its_costs_and_its_operators(
    pages: dict[str, str], files: Reported
) -> None:
    parsed = Parsed(pages["table"])
    table = load_table(files.table)
    model = latency_model(table, SPACE)
    networks = agreement(table, SPACE, model)
    assert len(networks) == len(table.networks) == 20
    assert f"{accuracy_among(networks).mape:.2%}" in parsed.text
    for network in networks:
        name = "".join(map(str, network.choices))
        says = next(each for each in parsed.says if each.startswith(f"{name}\n"))
        assert f"measured {network.measured_s * 1e3:.4g} ms" in says
    slowest = max(table, key=table.__getitem__)
    assert f"{table[slowest] * 1e6:.1f} us" in parsed.text
    assert f"{model.cost_s[0, 2] * 1e6:.1f}" in parsed.text
    assert "Samples over time" in parsed.text
    assert f"hash of the table {table.hash}" in parsed.text


def test_the_page_of_a_search_names_every_network_of_the_front(
    pages: dict[str, str], files: Reported
) -> None:
    parsed = Parsed(pages["answers"])
    first, second = read_answers(files.answers)
    for candidate in first.front:
        says = next(each for each in parsed.says if each.startswith(f"{candidate.arch}\n"))
        assert f"accuracy {candidate.accuracy:.1%}" in says
        assert f"predicted {candidate.latency_s[0] * 1e3:.4g} ms" in says
    for answer in (first, second):
        says = next(each for each in parsed.says if each.startswith(f"{answer.arch}\n"))
        assert f"answer to {answer.limits_s[0] * 1e3:.4g} ms" in says


def test_a_front_by_loss_says_so_and_keeps_the_accuracies(files: Reported, tmp_path: Path) -> None:
    def ranked(candidate: Candidate) -> Candidate:
        """Return it with a loss by which faster networks are worse, whatever their accuracy."""
        return replace(candidate, loss=1e-3 / candidate.latency_s[0])

    answers = [
        replace(each, loss=1e-3 / each.predicted_s[0], front=tuple(map(ranked, each.front)))
        for each in read_answers(files.answers)
    ]
    write_answers(tmp_path / "arch.json", answers)
    assert latkit.main(["report", str(tmp_path / "arch.json")]) == 0
    parsed = Parsed((tmp_path / "arch.html").read_text())
    assert "accuracy may fall along the front" in parsed.text
    for candidate in answers[0].front:
        says = next(each for each in parsed.says if each.startswith(f"{candidate.arch}\n"))
        assert f"accuracy {candidate.accuracy:.1%}\nloss {candidate.loss:.4g}\n" in says


def test_answers_in_several_number_formats_have_a_front_each(
    files: Reported, tmp_path: Path
) -> None:
    first = read_answers(files.answers)[0]
    known = "digits, in fp32; less 0.40 points"
    half = tuple(
        replace(
            each,
            latency_s=tuple(seconds / 2 for seconds in each.latency_s),
            interval_s=tuple((low / 2, high / 2) for low, high in each.interval_s),
        )
        for each in first.front
    )
    other = replace(
        first,
        devices=("mine-int8",),
        predicted_s=half[0].latency_s,
        interval_s=half[0].interval_s,
        accuracy_from=known,
        front=half,
        runners_up=(),
    )
    write_answers(tmp_path / "arch.json", [first, other])
    assert latkit.main(["report", str(tmp_path / "arch.json")]) == 0
    parsed = Parsed((tmp_path / "arch.html").read_text())
    (device,) = first.devices
    assert f"for {device} or mine-int8; each limit" in parsed.text
    assert f"Accuracy on mine-int8: {known}" in parsed.text
    for name in (device, "mine-int8"):
        assert f"Predicted latency on {name} with its" in parsed.text
        assert parsed.text.count(f"predicted latency on {name}, ms") == 2  # front, and limits
    of_best = [each for each in parsed.says if each.startswith(f"{first.arch}\naccuracy")]
    assert len(of_best) == 2  # neither beats the other: they are of two devices
    assert len(set(of_best)) == 2


def test_the_page_of_a_deployment_tells_its_verdict_and_its_history(
    pages: dict[str, str], files: Reported
) -> None:
    parsed = Parsed(pages["deployment"])
    lines = (files.deployment / "verdicts.jsonl").read_text().splitlines()
    missed, met = map(json.loads, lines)
    assert (missed["verdict"], met["verdict"]) == ("missed", "met")
    assert "deploy met" in parsed.text  # the heading
    for verdict in (missed, met):
        assert f"{verdict['measured_ms']:.4g}" in parsed.text
        assert f"limit {verdict['limit_ms']:.4g} ms" in " ".join(parsed.says)
    assert "87.5%" in parsed.text


def test_a_deployment_that_nobody_verified_says_so(files: Reported, tmp_path: Path) -> None:
    folder = copied(files, tmp_path / "fresh")
    for path in folder.glob("verdict*"):
        path.unlink()
    assert latkit.main(["report", str(folder)]) == 0
    text = Parsed((tmp_path / "fresh.html").read_text()).text
    assert "fresh unverified" in text
    assert "Nobody has verified this model yet: latkit verify DIR" in text
    assert "Samples over time" not in text


def test_kernels_of_the_exported_model_are_counted_for_its_layers(
    files: Reported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, quick = files.deployment / "model.onnx", ["--processes", "1", "--json"]
    capsys.readouterr()
    assert latkit.main(["profile", "--device", "sim", "--onnx", str(model), *quick]) == 0
    kernels, page = tmp_path / "kernels.json", tmp_path / "page.html"
    kernels.write_text(capsys.readouterr().out)
    command = ["report", str(files.deployment), "--kernels", str(kernels), "-o", str(page)]
    assert latkit.main(command) == 0
    known = json.loads(kernels.read_text())
    measured_us = [
        float(found[1])
        for says in Parsed(page.read_text()).says
        if (found := re.search(r"\nmeasured ([\d.]+) us", says))
    ]
    assert len(measured_us) == len(SPACE.layers) + 1
    whole_us = sum(kernel["ms"] for kernel in known["kernels"]) * 1e3
    assert sum(measured_us) == pytest.approx(whole_us, rel=0.01)


def copied(files: Reported, folder: Path) -> Path:
    """Return a copy of the deployment that a test may change."""
    folder.mkdir()
    for path in files.deployment.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_percentiles_of_the_last_verdict_are_shown(files: Reported, tmp_path: Path) -> None:
    folder = copied(files, tmp_path / "deploy")
    *before, last = (folder / "verdicts.jsonl").read_text().splitlines()
    values = json.loads(last) | {"percentiles_ms": {"p90": [0.1234, 0.12, 0.13], "p99": None}}
    (folder / "verdicts.jsonl").write_text("\n".join([*before, json.dumps(values)]))
    assert latkit.main(["report", str(folder)]) == 0
    text = Parsed((tmp_path / "deploy.html").read_text()).text
    assert "p90 0.1234 0.12 to 0.13" in text
    assert "p99" not in text


@pytest.mark.parametrize("tolerance", [0.5, None])
def test_the_parity_report_is_shown_output_by_output(
    files: Reported, tmp_path: Path, tolerance: float | None
) -> None:
    folder = copied(files, tmp_path / "deploy")
    wanted = np.array([[1.0, -4.0], [0.5, 0.25]], np.float32)
    output = output_parity("logits", wanted + 0.125, wanted, tolerance=tolerance)
    report = parity_json([output], images_from="the test split of digits", runtime="onnxruntime 1")
    (folder / "parity.json").write_text(report)
    assert latkit.main(["report", str(folder)]) == 0
    text = Parsed((tmp_path / "deploy.html").read_text()).text
    assert f"logits 2, 2 4 0.125 0.125 1 {tolerance or 'none'} yes" in text


def test_the_verdict_on_an_earlier_model_is_history_and_no_verdict_on_this_one(
    files: Reported, tmp_path: Path
) -> None:
    folder = copied(files, tmp_path / "deploy")
    first, _ = (folder / "verdicts.jsonl").read_text().splitlines()
    other = json.loads(first) | {"sha256": "0123456789abcdef"}
    (folder / "verdicts.jsonl").write_text(json.dumps(other))
    assert latkit.main(["report", str(folder)]) == 0
    text = Parsed((tmp_path / "deploy.html").read_text()).text
    assert "deploy unverified" in text
    assert "another, 0123456789ab" in text


def complaint(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    capsys.readouterr()
    assert latkit.main(["report", *command]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_holds_nothing_has_no_page(
    tmp_path: Path, noisy: DeviceSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    with table_for(tmp_path / "empty.lut", noisy):
        pass
    assert "nothing was measured into" in complaint(capsys, str(tmp_path / "empty.lut"))
    (tmp_path / "empty.json").write_text("[]")
    assert "holds no architectures" in complaint(capsys, str(tmp_path / "empty.json"))
    (tmp_path / "run").mkdir()
    assert "is no deployment directory" in complaint(capsys, str(tmp_path / "run"))
    (tmp_path / "run" / "settings.json").write_text("{}")
    assert "it is a training run" in complaint(capsys, str(tmp_path / "run"))
    assert "there is no" in complaint(capsys, str(tmp_path / "nowhere.lut"))
    assert not list(tmp_path.glob("*.html"))


def test_what_does_not_belong_to_a_deployment_is_refused(
    files: Reported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernels = tmp_path / "kernels.json"
    kernels.write_text('{"latency_ms": 1.0, "kernels": [{"op": "Conv", "ms": 1.0}]}')
    command = [str(files.deployment), "--kernels", str(kernels)]
    assert "are not those of this network" in complaint(capsys, *command)
    for other in (files.answers, files.table):
        assert "--kernels are of one" in complaint(capsys, str(other), *command[1:])
    assert "--table prices" in complaint(capsys, str(files.table), "--table", str(files.table))
    kernels.write_text("{}")
    assert "holds no kernels" in complaint(capsys, *command)


def test_a_damaged_line_of_the_history_is_said_and_hides_no_other(
    files: Reported, tmp_path: Path
) -> None:
    folder = copied(files, tmp_path / "deploy")
    with (folder / "verdicts.jsonl").open("a") as file:
        file.write("{}\n")
    count = len((folder / "verdicts.jsonl").read_text().splitlines())
    assert latkit.main(["report", str(folder)]) == 0
    text = Parsed((tmp_path / "deploy.html").read_text()).text
    assert f"since they cannot be read: lines {count}" in text


def test_a_page_never_takes_the_place_of_what_it_reports(
    files: Reported, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files.table.read_bytes()
    assert "name another file" in complaint(capsys, str(files.table), "-o", str(files.table))
    assert files.table.read_bytes() == before


def test_figures_for_machines_name_the_page_and_its_sections(
    files: Reported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    capsys.readouterr()
    assert latkit.main(["report", str(files.answers), "-o", str(page), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["report"] == str(page)
    assert figures["kind"] == "Search"
    assert figures["bytes"] == page.stat().st_size
    assert "Pareto front" in figures["sections"]


def test_an_altered_deployment_has_no_page(
    files: Reported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(files, tmp_path / "altered")
    with (folder / "model.onnx").open("ab") as model:
        model.write(b"x")
    assert "was altered" in complaint(capsys, str(folder))


def test_a_text_is_escaped_wherever_it_stands() -> None:
    made = el("p", {"data-says": 'a "b" & <c>'}, "<i>", el("b", None, "&"), "\x00<")
    assert to_html(made) == (
        '<p data-says="a &quot;b&quot; &amp; <c&gt;">&lt;i&gt;<b>&amp;</b>\ufffd&lt;</p>'
    )


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0.0, 1.0, "0.0 0.2 0.4 0.6 0.8 1.0"), (0.93, 1.21, "0.95 1.00 1.05 1.10 1.15 1.20")],
)
def test_ticks_stand_at_round_numbers(low: float, high: float, ticks: str) -> None:
    axis = Axis(low=low, high=high, start=0.0, end=100.0)
    assert " ".join(tick_texts(axis.ticks(6))) == ticks


def test_a_step_is_the_smallest_round_one() -> None:
    assert nice_step(0.21) == pytest.approx(0.25)
    assert nice_step(1.0) == 1.0
    assert nice_step(730.0) == 1000.0


def test_an_axis_of_lengths_begins_at_zero() -> None:
    assert span([3.0, 4.0], zero=True)[0] == 0.0
    assert span([-1.0, 4.0], zero=True)[0] < -1.0
    assert span([2.0, 2.0])[0] < 2.0 < span([2.0, 2.0])[1]


def test_paths_are_cut_to_their_names_and_layers_are_left_alone() -> None:
    assert without_paths("run /home/me/runs/a.pt now") == "run a.pt now"
    assert without_paths(r"C:\Users\me\x.onnx") == "x.onnx"
    assert without_paths("mbconv 1x32x56x56 -> 64 k5, 3/4, a/b/c") == (
        "mbconv 1x32x56x56 -> 64 k5, 3/4, a/b/c"
    )


def test_facts_are_flattened_and_empty_ones_left_out() -> None:
    facts = {"a_b": {"c": 0.25, "d": None}, "e": [], "f": (1, 2), "g": True}
    assert flat(facts) == {"a b c": "0.25", "f": "1, 2", "g": "yes"}
