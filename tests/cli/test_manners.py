"""The command line's manners: what a new user sees. Each test is a defect that somebody met, or a rule."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import typer
from rich.console import Console

import mosaic_onnx
from mosaic_onnx import api, cli
from mosaic_onnx.cli.lazy_group import LoadedCommands
from mosaic_onnx.cli.views.tables import table
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.core.process.machine_load import OthersLoad
from mosaic_onnx.discovery import health
from mosaic_onnx.files import atomic
from mosaic_onnx.files.bundle import refuse_target
from mosaic_onnx.planner.core.request import Request
from tests.cli.conftest import Mosaic

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, its profile, and its bundle of three slices on the CPU."""
    folder = tmp_path_factory.mktemp("manners")
    text = "".join(f"[fc{i}] h{i} = MatMul (t{i}, w{i})\n[act{i}] t{i + 1} = Sigmoid (h{i})\n" for i in range(3))
    made = onnx.parser.parse_model(f"""
        <ir_version: 9, opset_import: ["" : 17]>
        small (float[N, 8] t0) => (float[N, 8] t3) {{ {text} }}""")
    random = np.random.default_rng(0)
    for i in range(3):
        made.graph.initializer.append(
            onnx.numpy_helper.from_array(random.normal(size=(8, 8)).astype(np.float32), f"w{i}")
        )
    onnx.save(made, folder / "small.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOSAIC_CACHE_DIR", str(folder / "cache"))
        bundle = api.compile(
            folder / "small.onnx",
            devices=["cpu"],
            effort="quick",
            request=Request(min_slice_count=3),
            input_shapes={"t0": (2, 8)},
        )
    shutil.copy(bundle.folder / "profile.json", folder / "p.json")
    return folder


def python_m(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m mosaic_onnx`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "mosaic_onnx", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


# Before the first command.


def test_the_version_can_be_asked_for(mosaic: Mosaic) -> None:
    done = mosaic("--version")
    assert (done.exit_code, done.stdout) == (0, f"mosaic-onnx {mosaic_onnx.__version__}\n")


def test_a_bare_command_shows_the_help_and_no_empty_error(mosaic: Mosaic) -> None:
    done = mosaic()
    assert done.exit_code == 2
    assert done.stdout.startswith("Usage: mosaic-onnx")
    assert done.stderr == ""


def test_python_m_runs_the_command_line() -> None:
    assert python_m("--version").stdout.startswith("mosaic-onnx ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_a_completion_script(shell: str) -> None:
    done = python_m(_MOSAIC_ONNX_COMPLETE=f"source_{shell}")
    assert done.returncode == 0, done.stderr
    assert "_MOSAIC_ONNX_COMPLETE" in done.stdout


def test_completion_offers_commands_and_choices() -> None:
    offered = python_m(_MOSAIC_ONNX_COMPLETE="complete_bash", COMP_WORDS="mosaic-onnx comp", COMP_CWORD="1").stdout
    assert offered.split() == ["compile"]
    words = {"COMP_WORDS": "mosaic-onnx plan --objective e", "COMP_CWORD": "3"}
    assert set(python_m(_MOSAIC_ONNX_COMPLETE="complete_bash", **words).stdout.split()) == {"energy", "edp"}


def test_the_help_lists_every_command_with_the_first_words_of_its_own_help() -> None:
    loaded = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    assert isinstance(loaded, LoadedCommands)
    for name, lazy in cli.COMMANDS.items():
        assert loaded[name].name == name
        assert loaded[name].help, name
        assert len(lazy.summary) <= 80


def test_no_command_of_a_room_is_left_out_of_the_list() -> None:
    rooms = {path.stem for path in Path(cli.__file__).parent.glob("*.py") if "\ndef register(" in path.read_text()}
    assert {lazy.room for lazy in cli.COMMANDS.values()} == rooms
    for room in rooms:
        holder = typer.Typer()
        importlib.import_module(f"mosaic_onnx.cli.{room}").register(holder)
        offered = set(typer.main.get_group(holder).commands)
        assert offered == {name for name, lazy in cli.COMMANDS.items() if lazy.room == room}


def test_every_command_takes_v() -> None:
    for command in typer.main.get_command(cli.app).commands.values():  # type: ignore[attr-defined]
        for one in getattr(command, "commands", {"": command}).values():
            assert any("--verbose" in parameter.opts for parameter in one.params), one.name


# -v, settings, pipes.


def test_v_logs_passes_to_stderr_and_changes_nothing_on_stdout(mosaic: Mosaic, compiled: Path) -> None:
    plain, verbose = mosaic("plan", str(compiled / "p.json")), mosaic("plan", str(compiled / "p.json"), "-v")
    assert verbose.stdout == plain.stdout
    for words in (("plan", str(compiled / "p.json"), "-v"), ("-v", "plan", str(compiled / "p.json"))):
        assert re.search(r"pass plan: \d", python_m(*words).stderr)


def test_options_stand_in_a_file_and_a_flag_wins(mosaic: Mosaic, compiled: Path) -> None:
    Path("mosaic.toml").write_text('[plan]\nmethod = "algorithm1"\nobjective = "latency"\n')
    assert mosaic("plan", str(compiled / "p.json"), "--json").json["method"] == "algorithm1"
    assert mosaic("plan", str(compiled / "p.json"), "--method", "hca", "--json").json["method"] == "hca"


def test_a_pyproject_holds_options_too_and_the_nearest_file_counts(
    mosaic: Mosaic, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("pyproject.toml").write_text('[tool.mosaic-onnx.plan]\nmethod = "algorithm1"\n')
    Path("inner").mkdir()
    monkeypatch.chdir("inner")
    assert mosaic("plan", str(compiled / "p.json"), "--json").json["method"] == "algorithm1"
    Path("mosaic.toml").write_text("")
    assert mosaic("plan", str(compiled / "p.json"), "--json").json["method"] != "algorithm1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[pln]\nmethod = "algorithm1"', "no command 'pln'"),
        ('[plan]\nmethd = "algorithm1"', "plan.methd"),
        ("[plan]\nforce = true", "plan.force cannot stand in a file"),
        ("[plan]\nmethod = true", "plan.method"),
        ('[plan]\npareto = "yes"', "plan.pareto must be true or false"),
        ("plan = 3", "plan is not a table"),
        ("[plan", "not TOML"),
    ],
)
def test_a_settings_file_is_read_strictly(mosaic: Mosaic, compiled: Path, text: str, said: str) -> None:
    Path("mosaic.toml").write_text(text)
    done = mosaic("plan", str(compiled / "p.json"))
    assert done.exit_code == 2
    assert said in done.stderr
    assert "mosaic.toml" in done.stderr


def test_a_reader_that_has_read_enough_is_no_error(compiled: Path) -> None:
    command = f"{sys.executable} -m mosaic_onnx inspect {compiled / 'small.onnx'} -d cpu --json"
    done = subprocess.run(
        ["bash", "-c", f"{command} | (read -r line; exec <&-; sleep 0.1); echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() in ("0", "141")  # 141: a tool that SIGPIPE ended
    assert "Traceback" not in done.stderr
    assert "error" not in done.stderr


def test_a_closed_stdout_ends_like_other_tools() -> None:
    code = "from mosaic_onnx import cli; import sys; sys.exit(cli.run(['cache', 'dir']))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


# Words that do not exist.


def test_a_wrong_name_of_anything_is_answered_with_the_nearest(mosaic: Mosaic, compiled: Path) -> None:
    profile, model = str(compiled / "p.json"), str(compiled / "small.onnx")
    for words, nearest in (
        (("expln",), "explain"),
        (("plan", profile, "--objective", "latncy"), "latency"),
        (("plan", profile, "--method", "interva"), "interval"),
        (("inspect", model, "-d", "cpuu"), "cpu"),
        (("profile", model, "-d", "cpu", "--effort", "quik", "--dry-run"), "quick"),
        (("plan", profile, "--objectiv", "latency"), "--objective"),
        (("reproduce", "mosiac"), "mosaic"),
    ):
        done = mosaic(*words)
        assert done.exit_code == 2, words
        assert nearest in done.stderr, (words, done.stderr)


def test_case_does_not_count(mosaic: Mosaic, compiled: Path) -> None:
    assert mosaic("inspect", str(compiled / "small.onnx"), "-d", "CPU").exit_code == 0
    assert mosaic("plan", str(compiled / "p.json"), "--objective", "Latency", "--method", "HCA").exit_code == 0


def test_a_model_in_the_place_of_a_profile_is_called_a_model(mosaic: Mosaic, compiled: Path) -> None:
    done = mosaic("plan", str(compiled / "small.onnx"))
    assert done.exit_code == 1
    assert "is a model" in done.stderr
    assert "mosaic-onnx profile" in done.stderr


# Units as they were given.


def test_a_deadline_in_milliseconds_is_answered_in_milliseconds(mosaic: Mosaic, compiled: Path) -> None:
    done = mosaic("plan", str(compiled / "p.json"), "--deadline-ms", "0.0001")
    assert done.exit_code == 3
    assert re.search(r"deadline of 0\.0001 ms: the fastest takes at least [\d.e-]+ ms", done.stderr)


def test_a_cap_that_is_too_small_names_the_cap_and_how_to_raise_it(mosaic: Mosaic, compiled: Path) -> None:
    done = mosaic("plan", str(compiled / "p.json"), "--memory", "cpu=100")
    assert done.exit_code == 3
    assert re.search(r"raise the cap: --memory cpu=\d+", done.stderr)


def test_a_plan_says_its_figures_once_and_in_one_unit(mosaic: Mosaic, compiled: Path) -> None:
    done = mosaic("plan", str(compiled / "p.json"))
    assert (done.stdout + done.stderr).count("latency plan") == 1
    assert "seconds" not in done.stdout
    assert re.search(r"lower bound [\d.e-]+ ms", done.stdout)


# Fail before measuring.


@pytest.mark.parametrize("command", ["compile", "profile"])
def test_a_model_that_is_not_there_is_told_before_any_device_is_asked(
    mosaic: Mosaic, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr("mosaic_onnx.api.machine.select", lambda *words, **_: asked.append(words))
    done = mosaic(command, "absent.onnx", "-o", "out")
    assert done.exit_code == 1
    assert "cannot open 'absent.onnx': No such file" in done.stderr
    assert not asked


def refuse_to_measure(*_: object, **__: object) -> None:
    raise AssertionError("something was measured")


@pytest.fixture
def nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets every measurement fail the test."""
    monkeypatch.setattr("mosaic_onnx.profiling.profile_model.profile_model", refuse_to_measure)


@pytest.mark.usefixtures("nothing_measured")
def test_a_missing_output_folder_is_told_before_measuring(mosaic: Mosaic, compiled: Path) -> None:
    for words in (("compile", "-o", "absent/x.mosaic"), ("profile", "-o", "readonly/p.json")):
        Path("readonly").write_text("a file, no folder")
        done = mosaic(words[0], str(compiled / "small.onnx"), "-d", "cpu", *words[1:])
        assert done.exit_code == 2
        assert words[2].partition("/")[0] in done.stderr


@pytest.mark.parametrize(("number", "said"), [(30, "Read-only file system"), (28, "No space left on device")])
def test_a_read_only_or_full_disk_is_named_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, said)

    monkeypatch.setattr(atomic.tempfile, "TemporaryFile", fail)
    with pytest.raises(UsageError, match=said) as caught:
        refuse_target(tmp_path / "x.mosaic", force=False)
    assert str(tmp_path) in caught.value.message
    assert "-o" in caught.value.hint


def test_too_little_room_is_told_before_measuring(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="free, and the output takes at least"):
        refuse_target(tmp_path / "x.mosaic", force=False, least_bytes=1 << 60)


@pytest.mark.usefixtures("nothing_measured")
def test_energy_without_meters_is_refused_before_measuring_with_the_ways_out(
    mosaic: Mosaic, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mosaic_onnx.backends.hardware.energy_meters import Meters

    monkeypatch.setattr("mosaic_onnx.profiling.energy.source.find_meters", lambda: Meters((), ()))
    words = ("-d", "cpu", "--objective", "energy", "--no-cache", "--dry-run")
    done = mosaic("compile", str(compiled / "small.onnx"), *words)
    assert done.exit_code == 2
    assert "--watts" in done.stderr


@pytest.mark.usefixtures("nothing_measured")
def test_a_dimension_of_zero_is_refused(mosaic: Mosaic, compiled: Path) -> None:
    done = mosaic("compile", str(compiled / "small.onnx"), "-d", "cpu", "--dry-run", "--input-shape", "t0:0,8")
    assert done.exit_code == 2
    assert "at least 1" in done.stderr


def test_an_interruption_says_only_what_is_true_of_the_cache(
    mosaic: Mosaic, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mosaic_onnx.api.profiling.run_passes", interrupt)
    words = ("profile", str(compiled / "small.onnx"), "-d", "cpu")
    assert "is kept" in mosaic(*words).stderr
    assert "nothing is kept" in mosaic(*words, "--no-cache").stderr
    monkeypatch.setattr(api, "find_devices", interrupt)
    assert "kept" not in mosaic("devices").stderr


def test_a_busy_machine_is_told(mosaic: Mosaic, compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("profile", str(compiled / "small.onnx"), "-d", "cpu", "--effort", "quick", "--dry-run")
    monkeypatch.setattr(os, "getloadavg", lambda: (99.0, 99.0, 99.0))
    monkeypatch.setattr(health, "others_load", lambda: None)  # a system that tells no more
    assert "the machine is busy (load 99.0" in mosaic(*words).stderr
    monkeypatch.setattr(health, "others_load", lambda: OthersLoad(64.0, 0.3))
    assert "the machine is busy (other programs take 64.0 of" in mosaic(*words).stderr
    monkeypatch.setattr(health, "others_load", lambda: OthersLoad(0.1, 0.0))  # the load is of a compilation just before
    assert "the machine is busy" not in mosaic(*words).stderr
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    assert "the machine is busy" not in mosaic(*words).stderr


def test_with_one_device_there_is_nothing_to_partition(mosaic: Mosaic, compiled: Path) -> None:
    done = mosaic("compile", str(compiled / "small.onnx"), "-d", "cpu", "--effort", "quick", "--dry-run")
    assert done.exit_code == 0, done.stderr
    assert "nothing to partition" in done.stderr


def test_the_first_words_on_a_compilation_are_measured_ones(mosaic: Mosaic, compiled: Path) -> None:
    done = mosaic("compile", str(compiled / "small.onnx"), "-d", "cpu", "--effort", "quick", "--dry-run")
    line = next(line for line in done.stderr.splitlines() if line.startswith("small.onnx: "))
    assert re.match(r"small\.onnx: [\d.e-]+ ms measured", line)
    assert "ONNX Runtime's default" in line
    figure = re.search(r"([\d.e-]+ ms) measured", line)
    assert figure is not None
    assert f"│ {figure[1]} │" in re.sub(" +", " ", done.stderr)


def test_a_plan_for_energy_shows_energy(mosaic: Mosaic, compiled: Path) -> None:
    words = ("-d", "hikey970", "--objective", "energy", "--effort", "quick", "--dry-run")
    done = mosaic("compile", str(compiled / "small.onnx"), *words)
    assert done.exit_code == 0, done.stderr
    assert re.search(r"small\.onnx: [\d.e-]+ mJ", done.stderr)
    assert "predicted energy" in done.stderr


# What is shown.


def drawn(made: object, width: int) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        from mosaic_onnx.cli.terminal.columns import show_whole

        show_whole(console, made)  # type: ignore[arg-type]
    return capture.get()


def test_only_figures_stand_to_the_right() -> None:
    made = table(
        "t", ("device", "why", "time", "share"), [("cpu", "not named", "1.5 ms", "2 of 3"), ("g", "-", "–", "")]
    )
    assert [column.justify for column in made.columns] == ["left", "left", "right", "right"]


@pytest.mark.parametrize("width", [40, 80, 100])
def test_no_table_breaks_a_name_over_lines(width: int) -> None:
    names = ("big@2362MHz", "openvino, runtime's default", "layer/with/a/long/name/of/its/own")
    text = drawn(table("t", ("state", "layers", "seconds"), [(name, "12 of 39", "1.234 ms") for name in names]), width)
    for word in ("big@2362MHz", "openvino,", "layer/with/a/long/name/of/its/own", "seconds"):
        assert word in text


def test_devices_are_named_once(mosaic: Mosaic) -> None:
    done = mosaic("devices", "-d", "cpu")
    assert len(re.findall(r"^\W*cpu\b", done.stdout, re.MULTILINE)) == 1
    assert "cpu" in mosaic("devices", "-q").stdout.split()


def test_one_timed_run_is_not_called_a_median(mosaic: Mosaic, compiled: Path) -> None:
    bundle = str(compiled / "small.mosaic")
    assert "median" not in mosaic("run", bundle).stdout
    assert "median" in mosaic("run", bundle, "--iterations", "3").stdout


def test_verify_ends_its_line(mosaic: Mosaic, compiled: Path) -> None:
    assert mosaic("verify", str(compiled / "small.mosaic")).stdout.endswith("are right\n")


def test_plans_on_other_devices_are_compared_in_few_words(mosaic: Mosaic, compiled: Path) -> None:
    plan = str(compiled / "small.mosaic" / "plan.json")
    Path("other.json").write_text(Path(plan).read_text().replace('"cpu"', '"npu"'))
    done = mosaic("diff", plan, "other.json")
    assert done.exit_code == 0, done.stderr
    assert "layer 3" not in done.stderr
    assert re.search(r"cpu\W+npu\W+\d", done.stderr)


def test_a_reproduction_without_plots_says_why(mosaic: Mosaic, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mosaic_onnx.reproduce import run

    report = run.Report(tmp_path, (), (), None, ("no plots: matplotlib is not installed",))  # type: ignore[arg-type]
    monkeypatch.setattr(run, "reproduce", lambda *_, **__: report)
    done = mosaic("reproduce", "mosaic", "-o", "report")
    assert "matplotlib" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("devices", "-d", "cpu"),
        ("doctor", "-d", "cpu"),
        ("inspect", "MODEL", "-d", "cpu"),
        ("plan", "PROFILE"),
        ("plan", "PROFILE", "--pareto"),
        ("run", "BUNDLE"),
        ("verify", "BUNDLE"),
        ("bench", "BUNDLE", "--iterations", "2", "--warmup", "0"),
        ("export", "BUNDLE", "-o", "one.onnx"),
        ("show", "BUNDLE"),
        ("explain", "BUNDLE"),
        ("diff", "PLAN", "PLAN"),
        ("cache", "dir"),
        ("npu", "list"),
        ("plan", "PROFILE", "--deadline-ms", "0"),
        ("compile", "absent.onnx"),
        ("nonsense",),
    ],
    ids=" ".join,
)
def test_a_command_writes_one_json_object_and_nothing_else(mosaic: Mosaic, compiled: Path, words: tuple[str]) -> None:
    names = {"MODEL": "small.onnx", "PROFILE": "p.json", "BUNDLE": "small.mosaic", "PLAN": "small.mosaic/plan.json"}
    done = mosaic(*(str(compiled / names[word]) if word in names else word for word in words), "--json")
    assert done.json["schema"].startswith("mosaic-onnx/")
    assert (done.exit_code == 0) == (not done.json["schema"].startswith("mosaic-onnx/error"))


# From Python, and of bundles.


def test_run_takes_one_array_of_a_model_with_one_input(compiled: Path) -> None:
    x = np.ones((2, 8), np.float32)
    alone, named = (api.run(compiled / "small.mosaic", inputs) for inputs in (x, {"t0": x}))
    assert np.array_equal(alone.outputs["t3"], named.outputs["t3"])


def test_a_front_is_planned_from_a_file_too(compiled: Path) -> None:
    text = (compiled / "p.json").read_text()
    with pytest.raises(UsageError, match="joules"):
        api.plan_front(compiled / "p.json")
    assert text == (compiled / "p.json").read_text()


def test_the_shapes_of_given_inputs_are_taken(mosaic: Mosaic, compiled: Path) -> None:
    np.savez("five.npz", t0=np.ones((5, 8), np.float32))
    done = mosaic("run", str(compiled / "small.onnx"), "-d", "cpu", "--inputs", "five.npz", "-o", "out.npz")
    assert done.exit_code == 0, done.stderr
    assert np.load("out.npz")["t3"].shape == (5, 8)
    words = ("profile", str(compiled / "small.onnx"), "-d", "cpu", "--effort", "quick")
    profiled = mosaic(*words, "--inputs", "five.npz", "--json")
    assert profiled.exit_code == 0, profiled.stderr
    assert profiled.json["tensors"]["t0"]["bytes"] == 5 * 8 * 4


def test_the_partitioned_file_needs_its_weights_and_export_makes_one_file(
    mosaic: Mosaic, compiled: Path, tmp_path: Path
) -> None:
    shutil.copy(compiled / "small.mosaic" / "model.onnx", tmp_path / "alone.onnx")
    readme = (ROOT / "README.md").read_text()
    assert "slices/weights.bin" in readme
    assert "mosaic-onnx export" in readme
    assert mosaic("export", str(compiled / "small.mosaic"), "-o", "one.onnx").exit_code == 0
    onnxruntime.InferenceSession("one.onnx", providers=["CPUExecutionProvider"])


def test_the_readme_says_which_onnx_runtime_takes_the_partitioned_file(compiled: Path) -> None:
    made = onnx.load(compiled / "small.mosaic" / "model.onnx", load_external_data=False)
    assert made.ir_version == 11
    assert "IR version 11" in (ROOT / "README.md").read_text()


def test_documents_name_commands_that_exist() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    named = {
        (page.name, word)
        for page in pages
        for word in re.findall(r"^mosaic-onnx ([a-z][a-z-]*)", page.read_text(), re.M)
    }
    named |= {
        (page.name, word) for page in pages for word in re.findall(r"`mosaic-onnx ([a-z][a-z-]*)", page.read_text())
    }
    assert named
    assert [one for one in sorted(named) if one[1] not in cli.COMMANDS] == []


def test_a_missing_openvino_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from mosaic_onnx.backends.openvino.quiet import openvino_module
    from mosaic_onnx.core.errors import BackendError

    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match="OpenVINO cannot be imported") as caught:
        openvino_module()
    assert "mosaic-onnx[openvino]" in caught.value.hint


def test_a_folder_in_the_place_of_a_plan_is_told(compiled: Path) -> None:
    with pytest.raises(ModelError, match="is a folder"):
        api.load_plan(compiled / "small.mosaic")


def test_a_device_is_found_whatever_its_case() -> None:
    from mosaic_onnx.discovery.registry import Inventory, select_devices

    here = Inventory({"cpu": Device("cpu", backend="onnxruntime")})
    assert [device.name for device in select_devices(["CPU"], here)] == ["cpu"]


@pytest.mark.parametrize("name", [*cli.COMMANDS])
def test_the_help_of_a_command_alone_is_what_the_program_prints_of_it(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.run([name, "--help"]) == 0
    alone = capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.app([name, "--help"], prog_name=cli.PROGRAM)
    assert capsys.readouterr().out == alone


def test_the_help_of_a_command_imports_neither_pydantic_nor_numpy() -> None:
    words = "import sys; from mosaic_onnx import cli; cli.run(['compile', '--help'])"
    words += "; print(sorted({'pydantic', 'numpy', 'onnx'} & set(sys.modules)), file=sys.stderr)"
    found = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert found.stderr.strip() == "[]"
