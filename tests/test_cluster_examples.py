"""The files of examples/cluster are what accelerate, SLURM and `bertx study` take."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from conftest import ROOT
from python_processes import PythonProcess
from transformers import BertConfig

from hf_bertx.callbacks import TimeLimitCallback
from hf_bertx.cli import main
from hf_bertx.processor import TimeLimitReached
from hf_bertx.runs.run import Run

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
    printed = capsys.readouterr().out
    assert options
    assert all(option in printed for option in options)


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
    group = (str(tmp_path / "group"), 0.0)
    torch.multiprocessing.start_processes(_one_of_two, group, nprocs=2, start_method="forkserver")


def test_class_weights_do_not_depend_on_the_processes(tiny_backbone: Path, tmp_path: Path) -> None:
    still = tmp_path / "no-dropout"
    shutil.copytree(tiny_backbone, still)
    BertConfig.from_pretrained(still, hidden_dropout_prob=0.0).save_pretrained(still)
    # 320 items: where an epoch's last batch is not full, accelerate repeats items to give each process as many
    order = "--fraction 0.11146 --max_steps 6 --eval_steps 6 --logging_steps 1 --class_weights balanced --threads 1"
    order += " --attention_dropout 0 --learning_rate 3e-3 --warmup_steps 0 --precision float32 --use_cpu"
    with socket.create_server(("127.0.0.1", 0)) as free:
        group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    places = {"one": [{}], "two": [{**group, "RANK": rank, "LOCAL_RANK": rank} for rank in "01"]}
    argv = [ROOT / "train.py", "--backbone", still, *order.split(), "--output_dir"]
    started = [
        PythonProcess(*argv, tmp_path / name, env=os.environ | place) for name in places for place in places[name]
    ]
    for process in started:
        done = process.wait()
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (Run.open(next((tmp_path / name).rglob("run.json")).parent).curve("loss") for name in places)
    assert len(one) == 6
    assert [loss for _, loss in two] == pytest.approx([loss for _, loss in one], abs=1e-4)
