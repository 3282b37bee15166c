"""`fcnjax data`: what it says of folders and files, what it draws and measures, and when it refuses."""

import numpy as np
import pytest
from PIL import Image

from fcnjax.commands.main import main
from fcnjax.data import save_npz


@pytest.fixture
def data(capsys):
    """Runs `fcnjax data ARGUMENTS` and returns its exit code, its output in one line, and stderr."""

    def run(*arguments):
        capsys.readouterr()
        code = main(["fcnjax", "data", *map(str, arguments)])
        out, error = capsys.readouterr()
        assert all(len(line) <= 80 for line in out.splitlines()[1:] if not line.startswith(("of ", "picture")))
        return code, " ".join(out.split()), error

    return run


def folder(root, **classes):
    """Writes gray images: the counts of the classes, by split."""
    rng = np.random.default_rng(0)
    for split, counts in classes.items():
        for name, count in counts.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                values = rng.integers(0, 256, (9 + number % 2, 12)).astype(np.uint8)
                Image.fromarray(values).save(root / split / name / f"{number}.png")
    return root


def test_a_folder_is_described_drawn_and_measured(data, tmp_path):
    root, sheet = (
        folder(tmp_path / "photos", train={"cat": 10, "dog": 10}, test={"cat": 3, "dog": 4}),
        tmp_path / "s.png",
    )
    code, out, error = data(f"--data={root}", f"--show={sheet}", "--measure")
    assert (code, error) == (0, "")
    assert f"image_folder {root}: 18 train, 2 validation, 7 test examples in 2 classes class" in out
    assert "cat 9 1 3 dog 9 1 4 sizes 9x12 to 10x12, median 9x12; 1 channel values uint8, mean 0." in out
    with Image.open(sheet) as picture:
        assert picture.size[0] > 900
    flags = dict(each.split("=") for each in out.partition("of 18 of 18 training examples: ")[2].split())
    assert float(flags["--config.data.mean"]) == pytest.approx(0.5, abs=0.03)  # uniform draws
    assert float(flags["--config.data.std"]) == pytest.approx(12**-0.5, abs=0.02)


def test_all_that_is_wrong_is_said_before_it_is_refused(data, tmp_path):
    root = folder(tmp_path / "photos", train={"Cat": 12, "Dog": 12}, test={"cat": 3, "dog": 4})
    (root / "test" / "dog" / "copy.png").write_bytes((root / "train" / "Dog" / "3.png").read_bytes())
    (root / "train" / "Cat" / "broken.png").write_bytes(b"no image")
    code, out, error = data(f"--data={root}")
    assert code == 2
    assert "left out 1 file: " in out
    assert "such as train/Cat/broken.png" in out
    assert "1 of 8 files of test is also in train, such as train/Dog/3.png = test/dog/copy.png" in out
    assert "2 classes have no training example: 'cat' (3 in test; train has 'Cat', which differs in case), 'dog'" in out
    assert error.count("\n") == 1
    assert error.startswith("fcnjax data: config.data.absent_classes=refuse: every class must have training examples")
    allowed = f"--data={root}", "--config.data.absent_classes=allow"
    code, _, error = data(*allowed)
    assert (code, error[: error.index(":", 15)]) == (2, "fcnjax data: config.data.on_error=refuse")
    code, _, error = data(*allowed, "--config.data.leakage=refuse")
    assert (code, error[: error.index(":", 15)]) == (2, "fcnjax data: config.data.leakage=refuse")
    assert data(*allowed, "--config.data.on_error=mask")[::2] == (0, "")


def test_sizes_are_those_that_the_network_would_see(data, tmp_path):
    root = folder(tmp_path / "photos", all={"cat": 10, "dog": 10})
    Image.new("L", (1, 1)).save(root / "all" / "cat" / "one.png")
    _, out, _ = data(f"--data={root}", "--config.size.max_side=10")
    assert "sizes 8x8 to 8x10, median 8x10; 1 channel; before the size policy 1x1 to 10x12, median 9x12" in out


def test_a_config_and_a_file_in_the_order_of_its_classes(data, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1)).astype(np.uint8)
    path = save_npz(tmp_path / "sorted.npz", list(values), [n // 10 for n in range(50)], list("abcde"))
    splits = "--config.data.train_split=train[:80%]", "--config.data.validation_split=train[80%:90%]"
    code, out, error = data(
        "--config=fcnjax:npz_file", f"--data={path}", *splits, "--config.data.test_split=train[80%:]"
    )
    assert (code, error) == (0, "")
    assert "a 8 1 2 b 8 1 2 c 8 1 2 d 8 1 2 e 8 1 2 sizes all 8x8; 1 channel" in out
    assert "warning 5 of 10 examples of test are also in validation, such as example " in out
    assert "examples of test are also in train" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --data=FOLDER, --data=FILE.npz, or --config="),
        (["--data=absent"], "data=absent: must be a folder with a folder for each class"),
        (["--data={root}", "--shw=x.png"], "Unknown command line flag 'shw'"),
        (["--data={root}", "--config.data.leakage=maybe"], "leakage='maybe': must be one of warn, refuse, ignore"),
    ],
)
def test_mistakes(data, tmp_path, arguments, message):
    root = folder(tmp_path, train={"a": 9, "b": 9})
    code, out, error = data(*(argument.format(root=root) for argument in arguments))
    assert (code, out) == (2, "")
    assert message in error
