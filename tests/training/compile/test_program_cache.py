"""Compiled programs are kept for the next process, bounded, shown and cleared, and return the same numbers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fcnjax.training.compile.program_cache import FOLDER, LARGEST, cache_contents, cache_folder, clear_cache

PROGRAM = """
import json, sys
import jax, jax.numpy as jnp
from fcnjax.training.compile.compilation import CompiledByShape
from fcnjax.training.compile.program_cache import cache_contents, use_program_cache

folder, hits = use_program_cache(), []
jax.monitoring.register_event_listener(lambda event, **about: hits.append(event))
step = CompiledByShape(lambda x: jnp.tanh(x @ x).sum())
jobs = [jax.random.normal(jax.random.key(n), (n, n)) for n in (30, 50)]
sums = [float(step(x.shape, x)) for x in jobs]
memory = [step.programs[x.shape].memory_analysis().temp_size_in_bytes for x in jobs]
hit = hits.count("/jax/compilation_cache/cache_hits")
bound = jax.config.jax_compilation_cache_max_size
print(json.dumps([str(folder), cache_contents().programs, hit, sums, memory, bound]))
"""


def run(**environment: str) -> list:
    kept = {name: value for name, value in os.environ.items() if name != FOLDER}
    command = [sys.executable, "-c", PROGRAM]
    ran = subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return [ran.stderr, *json.loads(ran.stdout)]


def test_a_later_process_reads_the_programs_and_computes_the_same(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    _, where, programs, hits, sums, memory, bound = run(**{FOLDER: str(folder)})
    assert (where, hits, bound) == (str(folder), 0, LARGEST)
    assert programs >= 2
    _, _, again, hits, sums_again, memory_again, _ = run(**{FOLDER: str(folder)})
    assert again == programs
    assert hits == programs
    assert sums_again == sums
    assert memory_again == memory
    monkeypatch.setenv(FOLDER, str(folder))
    contents = cache_contents()
    assert (contents.folder, contents.programs) == (folder, again)
    assert contents.size > 1000
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").write_text("not a program")
    assert clear_cache() == contents
    assert (folder / "mine" / "thesis.txt").exists()
    assert cache_contents()[:3] == (folder, 0, 0)
    assert not list(folder.glob("*-cache"))


def test_programs_make_room_for_later_ones(tmp_path):
    _, _, all_of_them, *_ = run(**{FOLDER: str(tmp_path / "roomy")})
    whole = sum(file.stat().st_size for file in (tmp_path / "roomy").iterdir())
    _, _, kept, *_, bound = run(**{FOLDER: str(tmp_path / "small"), "JAX_COMPILATION_CACHE_MAX_SIZE": str(whole // 2)})
    assert 0 < kept < all_of_them
    assert bound == whole // 2
    assert sum(file.stat().st_size for file in (tmp_path / "small").iterdir()) <= whole // 2


def test_the_cache_is_the_users_by_default_and_can_be_off(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(FOLDER)
    assert cache_folder() == tmp_path / "fcnjax" / "programs"
    monkeypatch.setenv(FOLDER, "")
    assert cache_folder() is None
    assert cache_contents()[:3] == (None, 0, 0)
    assert clear_cache().folder is None


def test_a_folder_that_cannot_be_written_is_said_and_costs_nothing_else(tmp_path):
    file = tmp_path / "file"
    file.write_text("no folder")
    said, where, *_ = run(**{FOLDER: str(file / "cache")})
    assert where == "None"
    assert said.count("\n") == 1
    assert f"{file / 'cache'}: compiled programs cannot be kept there" in said


def test_a_program_that_another_run_has_just_removed_counts_nothing(tmp_path, monkeypatch):
    (tmp_path / "jit_gone-1-cache").symlink_to(tmp_path / "absent")
    monkeypatch.setenv(FOLDER, str(tmp_path))
    assert cache_contents()[:3] == (tmp_path, 1, 0)


@pytest.mark.parametrize("arguments", [[], ["--clear"]])
def test_the_command_tells_what_there_is(tmp_path, monkeypatch, capsys, arguments):
    from fcnjax.commands.main import main

    (tmp_path / "jit_step-1-cache").write_bytes(b"0" * 2**20)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    # run_command would set the cache of the whole process.
    monkeypatch.setattr("fcnjax.commands.command_line.run_command", lambda program, command, argv: command(argv) or 0)
    assert main(["fcnjax", "cache", *arguments]) == 0
    told = capsys.readouterr().out
    removed = "removed " if arguments else ""
    assert told == f"{tmp_path}: {removed}1 programs, 1.0 MiB (at most 4 GiB)\n"
    assert [path.name for path in Path(tmp_path).iterdir()] == ([] if arguments else ["jit_step-1-cache"])
