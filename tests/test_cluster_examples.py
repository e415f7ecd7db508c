"""The files of examples/cluster are what accelerate, SLURM and `bertx study` take."""

import subprocess
import time
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from conftest import ROOT

from hf_bertx.callbacks import TimeLimitCallback
from hf_bertx.cli import main
from hf_bertx.runs.time_limit import TimeLimitReached

FOLDER = ROOT / "examples" / "cluster"


@pytest.mark.parametrize(("name", "kind"), [("ddp.yaml", "MULTI_GPU"), ("fsdp.yaml", "FSDP")])
def test_accelerate_reads_the_configuration(name: str, kind: str) -> None:
    config = load_config_from_file(str(FOLDER / name))
    assert (str(config.distributed_type).rpartition(".")[2], config.num_processes) == (kind, 2)
    ours = yaml.safe_load((ROOT / "accelerate_config.yaml").read_text())
    theirs = yaml.safe_load((FOLDER / name).read_text())
    assert {key for key in ours if ours[key] != theirs[key]} == {"distributed_type", "num_processes"}


@pytest.mark.parametrize("name", ["study.slurm", "ray.sh"])
def test_scripts_are_bash_and_their_options_exist(name: str, capsys: pytest.CaptureFixture) -> None:
    path = FOLDER / name
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text().partition("bertx study")[2]
    options = {word for word in text.split() if word.startswith("--")}
    with pytest.raises(SystemExit):
        main(["study", "--help"])
    told = capsys.readouterr().out
    assert options
    assert all(option in told for option in options)


def _one_of_two(rank: int, file: str, deadline: float) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    from types import SimpleNamespace as Some

    args, state = Some(world_size=2, device="cpu"), Some(global_step=1, max_steps=9)
    control = Some(should_log=True, should_save=False, should_training_stop=False)
    callback = TimeLimitCallback(deadline if rank else float("inf"))  # clocks differ
    callback.on_step_end(args, state, control)
    assert control.should_save
    if rank == 0:  # still writes when the other one has written
        time.sleep(0.5)
        Path(f"{file}-whole").touch()
    with pytest.raises(TimeLimitReached):
        callback.on_save(args, state, control)
    assert Path(f"{file}-whole").exists()
    torch.distributed.destroy_process_group()


def test_processes_of_a_run_stop_together(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_one_of_two, (str(tmp_path / "group"), 0.0), nprocs=2)
