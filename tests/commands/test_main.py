"""The command line, called as `main(argv)`: what it prints, its exit codes, and one sentence for every mistake."""

import importlib
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from fcnjax.commands.command_line import INTERRUPTED, NOT_FINITE, UNUSABLE
from fcnjax.commands.main import COMMANDS, main
from fcnjax.data import load_source

TINY = (
    "--config.model.channels=(4,4)",
    "--config.epochs=1",
    "--config.optimizer.learning_rate=0.03",
    "--config.batch_size=16",
    "--config.max_buckets=1",
)


@pytest.fixture(scope="session")
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Returns the flags of the digits config, with its data prepared in a folder of this test session."""
    path, folder = request.config.rootpath / "configs/digits.py", tmp_path_factory.mktemp("data")
    load_source("any_size_digits", "train", str(folder))  # now, so that its progress bar is not in a command's output
    return f"--config={path}", f"--config.data.data_dir={folder}"


class Command:
    """The `fcnjax` command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]):
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Runs `fcnjax ARGUMENTS` and returns its exit code, stdout and stderr."""
        self._capsys.readouterr()
        code = main(["fcnjax", *arguments])
        return code, *self._capsys.readouterr()

    def refuses(self, *arguments: str, exit_code: int = UNUSABLE) -> str:
        """Asserts that the command prints one sentence and exits with that code, and returns the sentence."""
        code, out, error = self(*arguments)
        assert code == exit_code
        assert out == ""
        assert error.count("\n") == 1, error
        assert error.startswith("fcnjax")
        assert "Traceback" not in error
        assert not error.endswith("..\n"), error
        return error.rstrip("\n")


@pytest.fixture
def fcnjax(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    # All config files are loaded under this name: definitions of an earlier file would remain.
    monkeypatch.delitem(sys.modules, "config_config", raising=False)
    return Command(capsys)


def table_rows(out: str) -> list[list[str]]:
    """Returns the titles and rows of the printed tables, split into words."""
    return [line.split() for line in out.splitlines() if line.strip() and "─" not in line]


def test_inspect_prints_the_shape_tables_of_the_thread(fcnjax, config):
    code, out, _ = fcnjax("inspect", *config, "--size", "28x28", "--size=28x16")
    assert code == 0
    rows = table_rows(out)
    first, second = rows.index(["input", "28x28"]), rows.index(["input", "28x16"])
    # Layer, output size, channels, receptive field, parameters, multiply-adds; worked out by hand.
    assert rows[first + 2 : second] == [
        ["input", "28x28", "1", "1x1", "0", "0"],
        ["conv1", "14x14", "32", "4x4", "576", "100,352"],
        ["conv2", "7x7", "64", "10x10", "32,896", "1,605,632"],
        ["conv3", "3x3", "128", "22x22", "131,328", "1,179,648"],
        ["linear", "10", "3x3", "10", "22x22", "1,290", "11,520"],
        ["mean", "pool", "1x1", "10", "38x38", "0", "90"],
        ["scores", "-", "10", "38x38", "0", "0"],
        ["total", "166,090", "2,897,242"],
    ]
    sizes = [row[-5:-3] for row in rows[second + 2 : second + 9]]
    wanted = ["28x16 1", "14x8 32", "7x4 64", "3x2 128", "3x2 10", "1x1 10", "- 10"]
    assert sizes == [entry.split() for entry in wanted]
    assert "minimum size 8x8, stride 8x8, receptive field 22x22" in out
    assert "head: linear 10 -> mean pool" in out
    _, out, _ = fcnjax("inspect", *config, "--config.model.border=valid", "--size", "28x22")
    assert "minimum size 22x22, stride 8x8" in out
    assert ["conv1", "13x10"] in [row[:2] for row in table_rows(out)]


def test_a_config_takes_the_name_of_a_network(fcnjax, config):
    code, out, _ = fcnjax("inspect", f"{config[0]}:resnet_cifar", config[1], "--size=28x28")
    assert code == 0
    assert ["stage3", "7x7", "64", "81x81", "205,696", "10,035,200"] in table_rows(out)
    sentence = fcnjax.refuses("inspect", f"{config[0]}:resnet_cifra", config[1], "--size=28x28")
    assert "unknown model 'resnet_cifra': did you mean 'resnet_cifar'?" in sentence


@pytest.mark.parametrize(
    "flags", [["--config=fcnjax:digits"], ["-config=fcnjax:digits"], ["--config", "fcnjax:digits"]]
)
def test_a_config_of_the_package_is_named_from_any_folder(fcnjax, config, tmp_path, monkeypatch, flags):
    _, wanted, _ = fcnjax("inspect", *config, "--size=28x28")
    monkeypatch.chdir(tmp_path)
    assert fcnjax("inspect", *flags, config[1], "--size=28x28")[1] == wanted
    network = [*flags[:-1], f"{flags[-1]}:resnet_cifar"]
    assert "stage3" in fcnjax("inspect", *network, config[1], "--size=28x28")[1]


def test_a_config_that_the_package_does_not_hold_is_refused(fcnjax, tmp_path):
    sentence = fcnjax.refuses("train", "--config=fcnjax:digts", f"--workdir={tmp_path / 'run'}")
    assert "--config=fcnjax:digts: unknown config 'digts': did you mean 'digits'? Known: audio_folder, " in sentence
    assert "unknown config ''. Known: " in fcnjax.refuses("train", "--config=fcnjax:", "--workdir=run")


def test_numbers_are_whole_in_a_narrow_terminal_and_a_pipe(fcnjax, config):
    _, out, _ = fcnjax("inspect", *config, "--size=1028x1280")
    assert "5,574,041,600" in out
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_train_and_evaluate_end_to_end(fcnjax, config, tmp_path):
    run = str(tmp_path / "run")
    code, out, _ = fcnjax("train", *config, *TINY, "--config.seed=3", f"--workdir={run}")
    assert code == 0
    assert "any_size_digits: 1,197 train, 200 validation, 400 test examples in 10 classes" in out
    assert "programs to compile: 1 for training, 1 for evaluation" in out
    result = json.loads(Path(run, "result.json").read_text())
    accuracy = f"accuracy {result['test_accuracy']:.2%} ({result['correct']} of 400)"
    assert f"test {accuracy}" in out
    assert result["correct"] > 80  # guessing gives 40
    written = json.loads(Path(run, "config.json").read_text())
    assert (written["seed"], written["model"]["channels"], written["epochs"]) == (3, [4, 4], 1)

    code, out, _ = fcnjax("evaluate", f"--workdir={run}")
    last = json.loads(Path(run, "metrics.jsonl").read_text().splitlines()[-1])
    assert code == 0
    assert out.startswith(f"test {accuracy}, loss {last['loss']:.6f}\n")
    rows = table_rows(out)
    assert ["400", "examples"] in rows
    assert ["top-1", "accuracy", f"{result['test_accuracy']:.2%}", f"({result['correct']})"] in rows
    assert ["least", "accurate", "classes"] in rows
    assert max(map(len, out.splitlines())) <= 80
    check_report(fcnjax, run, tmp_path / "report", result["correct"])

    before = Path(run, "metrics.jsonl").read_bytes()
    code, _, error = fcnjax("train", *config, *TINY, "--config.seed=3", f"--workdir={run}")
    assert code == 2
    assert error == (
        f"fcnjax train: workdir={run}: holds a finished run, which is never overwritten; choose a new folder.\n"
    )
    assert Path(run, "metrics.jsonl").read_bytes() == before


def check_report(fcnjax, run, folder, correct):
    """Evaluates a run with re-estimated statistics, and checks the report and that it is never overwritten."""
    code, out, _ = fcnjax("evaluate", f"--workdir={run}", "--reestimate_statistics", f"--report={folder}")
    assert code == 0
    assert out.endswith(f"\nreport {folder}\n")
    written = json.loads((folder / "metrics.json").read_text())
    assert (written["split"], written["reestimated_statistics"], written["count"]) == ("test", True, 400)
    assert f"({written['top1']['correct']} of 400)" in out.splitlines()[0]
    assert abs(written["top1"]["correct"] - correct) < 100  # the same weights with other statistics
    lines = (folder / "predictions.csv").read_text().splitlines()
    assert (lines[0], len(lines)) == ("id,label,prediction,probability", 401)
    sentence = fcnjax.refuses("evaluate", f"--workdir={run}", f"--report={folder}")
    assert sentence == (f"fcnjax evaluate: report={folder}: must be a new or empty folder; choose another path.")


def test_a_network_without_batch_statistics_is_evaluated_as_it_is_with_a_note(fcnjax, config, tmp_path):
    run = f"--workdir={tmp_path / 'run'}"
    options = ("--config.model.norm=group", "--config.data.train_split=train[:64]", "--config.max_buckets=1")
    assert fcnjax("train", *config, *TINY, *options, run)[0] == 0
    code, out, _ = fcnjax("evaluate", run, "--split=train", "--reestimate_statistics")
    first, second, *_ = out.splitlines()
    assert (code, first) == (0, "this network has no batch statistics: there is nothing to re-estimate")
    assert second.startswith("train accuracy ")
    assert second in fcnjax("evaluate", run, "--split=train")[1]


@pytest.mark.parametrize(
    ("flag", "parts"),
    [
        ("--config.epoch=3", ("config field 'epoch': did you mean 'epochs'?",)),
        ("--config.optimizer.learning_rat=1", ("'optimizer.learning_rat': did you mean 'optimizer.learning_rate'?",)),
        ("--config.zzz=1", ("unknown config field 'zzz'. Known: augment, batch_size",)),
        ("--config.dta.name=x", ("unknown config field 'dta': did you mean 'data'?",)),
        ("--config.data.mean=nan", ("config.data.mean=nan: must be a finite number.",)),
        ("--config.data.train_split=train[:0]", ("split='train[:0]' of any_size_digits: holds no example",)),
        ("--config.data.train_split=train[zz]", ("split='train[zz]' of any_size_digits: must be a name",)),
        ("--config.model.channels=(0,)", ("channels=0 of Convolution: must be at least 1.",)),
        ("--config.epochs=many", ("--config.epochs=many",)),
        ("--config.epochs=0", ("config.epochs=0: must be at least 1.",)),
        ("--config.optimizer.warmup=1.5", ("config.optimizer.warmup=1.5: must be in [0, 1).",)),
        ("--config.model=3", ("--config.model=3",)),
        ("--config.model.channels=(4,a)", ("config.model.channels", "must be of type int")),
        ("--config.model.channels=()", ("channels=() of the fcn: must have at least one entry",)),
        ("--config.model.norm=bath", ("unknown norm 'bath': did you mean 'batch'?",)),
        ("--config.model.depth=20", ("unknown option of model 'fcn': 'depth'",)),
        ("--config.model.border=reflct", ("unknown border 'reflct': did you mean 'reflect'?",)),
        (
            "--config.head.flatten=(3,3)",
            ("train split: example 0 of size", "a flatten-dense head made for 3x3 has one"),
        ),
        ("--config.model.dropout=1.5", ("rate=1.5 of dropout: must be in [0, 1).",)),
        ("--config.head.pool=maen", ("unknown pool 'maen': did you mean 'mean'?",)),
        ("--config.head.pool_k=2", ("unknown option of pool 'mean': 'k'",)),
        ("--config.head.pool_at=7", ("pool_at=7 of the head: allowed are 0 before linear 10, 1 after all layers.",)),
        ("--config.optimizer.name=adam", ("unknown optimizer 'adam': did you mean 'adamw'?",)),
        ("--config.data.name=any_digits", ("'any_digits'", "did you mean 'any_size_digits'?")),
        ("--config.augment.shift=2.0", ("config.augment.shift=2.0: must be 0 to 1",)),
        ("--config.model.channels=(2,2,2,2,2)", ("train split: example", "below this network's minimum size 32x32")),
        ("--wrkdir=x", ("'wrkdir'", "workdir")),
    ],
)
def test_a_mistake_in_a_flag_gets_one_sentence(fcnjax, config, tmp_path, flag, parts):
    sentence = fcnjax.refuses("train", *config, flag, f"--workdir={tmp_path / 'run'}")
    assert sentence.startswith("fcnjax train: ")
    for part in parts:
        assert part in sentence
    assert not (tmp_path / "run").exists()


def test_unknown_commands_and_loose_arguments_are_refused(fcnjax, config):
    assert fcnjax.refuses("trian") == (
        "fcnjax: unknown command 'trian': did you mean 'train'? "
        "Known: bench, cache, data, evaluate, export-weights, import-weights, inspect, plan, predict, prepare, train."
    )
    assert "argument 'runs/x': every argument must be a flag" in fcnjax.refuses("train", *config, "runs/x")
    assert "unknown split 'tests': did you mean 'test'?" in fcnjax.refuses("evaluate", "--model=x", "--split=tests")


def test_a_missing_flag_is_named_with_an_example(fcnjax, config):
    assert "--workdir is missing: give it, such as --workdir=" in fcnjax.refuses("train", *config)
    assert "--model is missing: give it, such as --model=" in fcnjax.refuses("evaluate")
    assert "--size is missing: give it, such as --size=28x28." in fcnjax.refuses("inspect", *config)
    assert "--config is missing: give the path of a config file" in fcnjax.refuses("train", "--workdir=x")
    assert "model=nowhere: must be a run or a model folder (no " in fcnjax.refuses("evaluate", "--workdir=nowhere")


@pytest.mark.parametrize("size", ["28by28", "28x", "x28", "-3x4", "0x28", "28.5x28", ""])
def test_a_malformed_size_is_refused(fcnjax, config, size):
    sentence = fcnjax.refuses("inspect", *config, f"--size={size}")
    assert sentence == (
        f"fcnjax inspect: --size={size}: must be positive extents joined by 'x', such as 28x28, or 8000 for a signal."
    )


def test_a_size_that_does_not_fit_the_network_is_refused(fcnjax, config):
    small = fcnjax.refuses("inspect", *config, "--size=28x28", "--size=9x7")
    assert "size 9x7: below this network's minimum size 8x8" in small
    assert "this network takes 2 spatial axes" in fcnjax.refuses("inspect", *config, "--size=28")


@pytest.mark.parametrize("override", [[], ["--config.epochs=2"]])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file or directory: '{path}'"),
        ("def get_config(:\n", "invalid syntax ({path}, line 1)"),
        ("x = 3\n", "has no attribute 'get_config'"),
        ("def get_config():\n    return 1 / 0\n", "{path}, line 2: ZeroDivisionError: division by zero"),
    ],
)
def test_a_config_file_that_cannot_be_read_gets_one_sentence(fcnjax, tmp_path, text, message, override):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    sentence = fcnjax.refuses("train", f"--config={path}", *override, f"--workdir={tmp_path / 'run'}")
    assert message.format(path=path) in sentence or message.format(path=path.name) in sentence


def test_a_config_of_another_type_or_without_the_field_is_refused(fcnjax, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def get_config():\n    return {'seed': 1}\n")
    assert "its get_config() returns a dict; it must return" in fcnjax.refuses("train", f"--config={path}")
    path.write_text("from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({'seed': 1})\n")
    sentence = fcnjax.refuses("train", f"--config={path}", "--config.epochs=2")
    assert "config field 'epochs': is not in the config file" in sentence


def test_help_is_not_an_error(fcnjax, capsys):
    for arguments in (["help"], ["-h"], ["--help"]):
        code, out, error = fcnjax(*arguments)
        assert (code, error) == (0, "")
        assert out.startswith("usage: fcnjax COMMAND")
        for command, sentence in COMMANDS.items():
            assert f"\n  {command:14} {sentence}\n" in out
    with pytest.raises(SystemExit) as caught:
        fcnjax("train", "--help")
    out, error = capsys.readouterr()
    assert (caught.value.code, error) == (0, "")
    assert out.startswith(f"usage: fcnjax train [--flags]\n\n{COMMANDS['train']}\n")
    assert "\n  --workdir=VALUE\n    Run folder.\n" in out
    assert "absl" not in out
    with pytest.raises(SystemExit):
        fcnjax("train", "-h")
    assert capsys.readouterr().out == out
    assert fcnjax()[0] == 2
    assert fcnjax("--version") == (0, f"fcnjax {version('fcnjax')}\n", "")


def test_help_that_a_pipe_does_not_read_to_its_end_ends_quietly():
    command = f"{sys.executable} -m fcnjax train --help | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "usage: fcnjax train [--flags]\n", "")


def test_a_flag_without_its_value_does_not_take_the_next_flag(fcnjax):
    sentence = fcnjax.refuses("train", "--workdir", "--config=fcnjax:digits")
    assert "--workdir: must have a value, and --config=" in sentence
    assert fcnjax.refuses("evaluate", "--workdir").endswith("Missing value for flag --workdir")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_is_what_its_module_says(name):
    run = importlib.import_module(f"fcnjax.commands.{name.replace('-', '_')}").run
    assert run.__doc__.splitlines()[0] == COMMANDS[name]


def test_an_interruption_by_the_user_gets_a_sentence_and_its_own_exit_code(fcnjax, monkeypatch):
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr("fcnjax.commands.train.run", interrupted)
    code, _, error = fcnjax("train")
    assert code == INTERRUPTED == 130
    assert error == "\nfcnjax train: interrupted.\n"


def test_a_diverging_run_gets_one_sentence(fcnjax, monkeypatch):
    def diverging(argv):
        raise FloatingPointError("training loss nan at step 3")

    monkeypatch.setattr("fcnjax.commands.train.run", diverging)
    assert fcnjax.refuses("train", exit_code=NOT_FINITE) == "fcnjax train: training loss nan at step 3"


def test_a_bug_is_not_reported_as_a_mistake_of_the_user(fcnjax, monkeypatch):
    def broken(argv):
        raise AssertionError("a bug")

    monkeypatch.setattr("fcnjax.commands.train.run", broken)
    with pytest.raises(AssertionError, match="a bug"):
        fcnjax("train")


def test_prepare_says_whether_the_data_was_already_prepared(fcnjax, tmp_path):
    for says in ("prepared", "is already prepared"):
        code, out, _ = fcnjax("prepare", "any_size_digits/fixed_28x28", f"--data_dir={tmp_path}")
        assert code == 0
        assert out.startswith(f"any_size_digits/fixed_28x28: {says} in {tmp_path}")


def test_prepare_refuses_in_one_sentence(fcnjax, tmp_path, monkeypatch):
    assert "as in 'fcnjax prepare mnist'" in fcnjax.refuses("prepare", f"--data_dir={tmp_path}")
    assert "did you mean 'mnist'" in fcnjax.refuses("prepare", "mnst")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "needs TensorFlow; install the extra catalog" in fcnjax.refuses("prepare", "mnist", f"--data_dir={tmp_path}")


def test_training_on_unprepared_data_says_how_to_prepare_it(fcnjax, tmp_path, request):
    path = request.config.rootpath / "configs/mnist.py"
    message = fcnjax.refuses(
        "train", f"--config={path}", f"--config.data.data_dir={tmp_path}", f"--workdir={tmp_path}/r"
    )
    assert f"run 'fcnjax prepare mnist --data_dir={tmp_path}'" in message
