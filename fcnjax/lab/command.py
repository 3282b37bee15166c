"""The command line of an experiment: `lab.main(EXPERIMENT)` runs, tunes, times, publishes or reproduces it."""

import dataclasses
import itertools
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import flags

from fcnjax.commands.command_line import UsageError, parse, read_recipe, run_command
from fcnjax.lab.experiment import Experiment, Setting
from fcnjax.lab.observations import Observations
from fcnjax.lab.plan import FILE as PLAN
from fcnjax.lab.plan import Plan, committed_at, is_committed, read_plan
from fcnjax.lab.published import outputs
from fcnjax.lab.published.outputs import Finished, finish, publish_summary, tell_finding, write_outputs
from fcnjax.lab.published.plan_first import begun_before
from fcnjax.lab.published.reproduction import (
    changed_keys,
    compare_results,
    compare_runs,
    end_reproduction,
    is_reproduced,
    print_comparison,
    reproduction_folder,
    same_conditions,
    sampled_jobs,
)
from fcnjax.lab.published.result import FILE as RESULT
from fcnjax.lab.published.result import facts_of, read_result
from fcnjax.lab.report.tables import planned_table
from fcnjax.lab.report.writers import print_table, print_tables
from fcnjax.lab.runner import Runner
from fcnjax.lab.timing import FILE as TIMING
from fcnjax.lab.timing import time_arms, timed_arms, training_time, work_of
from fcnjax.lab.tuning import Pilots, tune
from fcnjax.training import Recipe

RESULTS = Path("experiments/results")  # of published results, relative to the root of the project
RUNS, README = Path("runs"), Path("README.md")
CHANGED = 1  # exit code: a reproduction does not agree with the published result


def main(experiment: Experiment) -> NoReturn:
    """Runs an experiment from its command line, and ends the process with an exit code.

    The exit codes are those of `fcnjax.commands.command_line`, and `CHANGED` if a reproduction does not agree.
    """
    sys.exit(run_command(experiment.name, lambda argv: run(experiment, argv), sys.argv))


def write_index(names: Iterable[str]) -> Path:
    """Writes `runs/experiments/index.html` over the last reports of experiments, and returns its path.

    Args:
        names: names of the experiments, in order; all their settings are shown.
    """
    folders = [folder for name in names for folder in (RUNS / name, *sorted(RUNS.glob(f"{name}_*")))]
    return outputs.write_index(dict.fromkeys(folders), RUNS / "experiments")


@dataclasses.dataclass(frozen=True)
class Request:
    """What a command line asks for.

    Attributes:
        experiment: the experiment.
        setting_name: name of the setting.
        recipe: the recipe of the config with its overrides.
        workdir: folder of the runs.
        seeds: number of seeds.
        shard: which runs to do: number from 0, and count.
        flags: all flags by name.
        command: the command, with what changes results alone.
    """

    experiment: Experiment
    setting_name: str
    recipe: Recipe
    workdir: Path
    seeds: int
    shard: tuple[int, int]
    flags: Any
    command: str

    @property
    def setting(self) -> Setting:
        """The setting."""
        return self.experiment.setting(self.setting_name)

    @property
    def results(self) -> Path:
        """Folder of the plan and the published result."""
        return RESULTS / folder_name(self.experiment, self.setting_name)


def folder_name(experiment: Experiment, setting_name: str) -> str:
    """Returns the name of the folders of an experiment: its name, and that of the setting unless it is the first."""
    first = next(iter(experiment.settings))
    return experiment.name if setting_name == first else f"{experiment.name}_{setting_name}"


def run(experiment: Experiment, argv: Sequence[str]) -> None:
    """Does what a command line asks for (see `--help`).

    Raises:
        UsageError: if flags or values cannot be used.
        ValueError: if the plan or the published result is damaged or belongs to another experiment.
        SystemExit: with `CHANGED` if a reproduction does not agree with the published result.
    """
    request = read_request(experiment, argv)
    if request.flags.tune:
        _tune(request)
    elif request.flags.reproduce:
        _reproduce(request)
    else:
        _run(request)


def read_request(experiment: Experiment, argv: Sequence[str]) -> Request:
    """Returns what a command line asks for.

    Raises:
        UsageError: if a flag, a value or a field of the config cannot be used, or flags exclude each other.
        ValueError: if the setting is unknown.
    """
    data, config = _text_of(argv, "data"), _text_of(argv, "config")
    setting_name = next(iter(experiment.settings)) if data is None else data
    setting = experiment.setting(setting_name)
    default = [] if config is not None else [f"--config={setting.config}"]
    given = parse([argv[0], *default, *argv[1:]], lambda v: _define(experiment, v), "")
    _check_flags(given)
    root = RUNS / "reproduce" if given.reproduce else RUNS
    return Request(
        experiment.within(setting_name),
        setting_name,
        read_recipe(given.config),
        Path(given.workdir or root / folder_name(experiment, setting_name)),
        given.seeds or setting.seeds,
        _shard(given.shard),
        given,
        _command(experiment, setting_name, given, config or setting.config),
    )


def _text_of(argv: Sequence[str], name: str) -> str | None:
    """Returns the value of a flag that has to be known before the others are read; None if it is not given."""
    text = None
    for argument, following in itertools.pairwise([*argv[1:], ""]):
        flag, equals, value = argument.partition("=")
        if flag in (f"-{name}", f"--{name}"):
            text = value if equals else following
    return text


def _command(experiment: Experiment, setting_name: str, given: flags.FlagValues, config: str) -> str:
    """Returns the command of a run, the same however its flags are written: those of what changes results, by name."""
    setting = experiment.setting(setting_name)
    values: dict[str, Any] = {"data": setting_name, "seeds": given.seeds or setting.seeds, "config": config}
    values |= {name: given[name].value for name in given if name.startswith("config.") and given[name].present}
    usual = {"data": next(iter(experiment.settings)), "seeds": setting.seeds, "config": setting.config}
    shown = [f"--{name}={value}" for name, value in sorted(values.items()) if value != usual.get(name)]
    return shlex.join(["python", "-m", f"experiments.{experiment.name}", *shown])


def _define(experiment: Experiment, values: flags.FlagValues) -> None:
    first = next(iter(experiment.settings))
    data = f"Data: {', '.join(experiment.settings)}."
    flags.DEFINE_string("data", first, data, flag_values=values)
    flags.DEFINE_integer(
        "seeds", None, "Number of seeds, if not those of the data.", lower_bound=1, upper_bound=999, flag_values=values
    )
    flags.DEFINE_string("workdir", None, "Folder of the runs, if not runs/NAME.", flag_values=values)
    texts = {
        "tune": "Tune the learning rate of each arm on pilots, and write the plan.",
        "publish": "Write the result and the report into experiments/results.",
        "reproduce": "Run again and compare with the published result; exit code 1 if it does not agree.",
        "timing": "Also measure times of training, each arm in 10 fresh processes.",
    }
    for name, text in texts.items():
        flags.DEFINE_bool(name, False, text, flag_values=values)
    part = "With --reproduce: share of the runs, drawn at random, that are done again."
    flags.DEFINE_float("fraction", 1.0, part, flag_values=values)
    flags.DEFINE_string("shard", "1/1", "Do part I of N of the runs, as I/N, in this process.", flag_values=values)


def _check_flags(given: Any) -> None:
    chosen = [f"--{name}" for name in ("tune", "reproduce", "publish") if getattr(given, name)]
    if len(chosen) > 1:
        raise UsageError(f"{' '.join(chosen)}: must be one of them at a time; leave the others out.")
    if not 0 < given.fraction <= 1:
        raise UsageError(f"--fraction={given.fraction}: must be above 0 and at most 1, such as 0.2.")
    if given.fraction < 1 and not given.reproduce:
        raise UsageError(f"--fraction={given.fraction}: must come with --reproduce; add it.")
    if chosen and given.seeds is not None:
        raise UsageError(f"--seeds={given.seeds}: must be left out with {chosen[0]}, which takes the planned seeds.")
    if given.publish and given.shard != "1/1":
        raise UsageError(f"--shard={given.shard}: must be left out with --publish; publish when all shards have ended.")
    if given.timing and (given.tune or given.reproduce):
        raise UsageError(f"--timing: must be left out with {chosen[0]}; time a run, or --publish.")


def _shard(text: str) -> tuple[int, int]:
    """Returns number, from 0, and count of a shard such as "2/8", which counts from 1."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise UsageError(f"--shard={text}: must be I/N with I from 1 to N, such as 2/8.")
    return int(number) - 1, int(count)


def _plan_of(request: Request) -> Plan | None:
    """Returns the plan of an experiment, checked, or None if there is none."""
    path = request.results / PLAN
    if not path.exists():
        return None
    plan = read_plan(path)
    plan.check(request.experiment, request.setting_name, path)
    return plan


def _runner(request: Request, plan: Plan | None) -> Runner:
    return Runner(
        request.experiment,
        request.setting_name,
        request.recipe,
        request.workdir,
        learning_rates={} if plan is None else plan.learning_rates,
        seeds=range(request.seeds),
        shard=request.shard,
    )


def _tune(request: Request) -> None:
    pilots = Pilots(request.experiment, request.setting_name, request.recipe, request.workdir, request.shard)
    plan = tune(pilots)
    if plan is not None:
        path = plan.write(request.results / PLAN)
        print_table(planned_table(request.experiment, plan))
        print(f"plan: {path}; commit it before the run.")


def _run(request: Request) -> None:
    plan = _plan_of(request)
    if request.flags.timing:
        arms = request.experiment.arms  # if they are not worth timing, this says so before the runs
        timed_arms(arms, request.recipe, request.setting)
    if request.flags.publish:
        _check_publishable(request, plan)
    elif plan is None and request.experiment.tuned:
        missing = f"{request.experiment.name}: there is no {request.results / PLAN}, so no arm is tuned; see --tune."
        print(missing, file=sys.stderr)
    runner = _runner(request, plan)
    _check_begun(request, runner)
    observations = runner.run()
    if observations is not None:
        _check_begun(request, runner)  # again: a run of another process may have ended since
        finished = _finish(request, plan, runner, observations)
        page = write_outputs(finished, request.workdir)
        print_tables(finished.report)
        if request.flags.publish:
            page = write_outputs(finished, request.results, page=False)
            publish_summary(RESULTS, README)
            tell_finding(request.experiment, request.setting_name, finished)
        print(f"\nreport: {page}")


def _finish(request: Request, plan: Plan | None, runner: Runner, observations: Observations) -> Finished:
    """Decides, draws and times what the command line asks for."""
    experiment = request.experiment
    if plan is not None:
        plan = plan.for_seeds(experiment, request.seeds)
    times = []
    if request.flags.timing:
        timed = timed_arms(experiment.arms, request.recipe, request.setting)
        timings, work = time_arms(timed, request.workdir / TIMING), work_of(timed)
        times = [training_time(timings, work, arm, next(iter(timed))) for arm in timed]
    return finish(
        experiment,
        request.setting_name,
        observations,
        plan,
        facts={"command": request.command},
        pictures=[draw(runner, observations) for draw in experiment.pictures],
        times=times,
        changed=[] if plan is None else plan.differs_in(request.recipe),
    )


def _check_publishable(request: Request, plan: Plan | None) -> None:
    """Raises UsageError unless a committed plan fits the recipe."""
    path = request.results / PLAN
    if plan is None:
        raise UsageError(f"--publish: must have a plan, and {path} does not exist; run with --tune, and commit it.")
    changed = plan.differs_in(request.recipe)
    if changed:
        raise UsageError(f"--publish: must run what {path} planned; leave out changes of {', '.join(changed)}.")
    if not is_committed(path):
        raise UsageError(f"--publish: must follow a plan that was committed before; commit {path}.")


def _check_begun(request: Request, runner: Runner) -> None:
    """Raises UsageError if a run that is published began before its plan was committed."""
    path = request.results / PLAN
    committed = committed_at(path) if request.flags.publish else None
    if committed is None:
        return
    keys = [runner.key(*job) for job in runner.jobs]
    early = begun_before(request.workdir, keys, committed)
    if early:
        some = f"{len(early)} of {len(keys)} in {request.workdir} began before or do not say when, such as {early[0]}"
        raise UsageError(
            f"--publish: must have runs that began after {path} was committed, and {some}; "
            "publish with a new --workdir."
        )


def _reproduce(request: Request) -> None:
    published, plan = read_result(request.results / RESULT), _plan_of(request)
    if published.plan != (None if plan is None else plan.digest):
        raise ValueError(f"{request.results / RESULT}: must be of the plan beside it; publish the experiment again.")
    folder = reproduction_folder(request.workdir, published.to_dict())
    request = dataclasses.replace(request, workdir=folder, seeds=published.seeds)
    runner = _runner(request, plan)
    if request.flags.fraction < 1:
        observations = runner.run(sampled_jobs(published, request.flags.fraction))
        if observations is None:
            return
        exact = same_conditions(published.facts, facts_of(observations))
        lines = compare_runs(published, observations.runs, exact, request.experiment.claims)
    else:
        observations = runner.run()
        if observations is None:
            return
        finished = _finish(request, plan, runner, observations)
        write_outputs(finished, folder)
        exact = same_conditions(published.facts, finished.result.facts)
        lines = compare_results(published, finished.result)
    end_reproduction(folder)
    print_comparison(lines, exact, changed_keys(published, observations.runs))
    if not is_reproduced(lines):
        raise SystemExit(CHANGED)
