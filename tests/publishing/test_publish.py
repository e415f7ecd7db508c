"""What may be sent and what is sent: one commit, versions, repeats, refusals. Over HTTP, to a double of the Hub."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT
from file_damage import damage, edit, respecify
from hub_server import File, HubServer
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import RepositoryNotFoundError
from own_files import dna_table, train_own
from raw_files import histone
from transformers.utils import logging

from dataset_scripts.build import build_dataset
from hf_bertx import run_files
from hf_bertx.cli import main
from hf_bertx.publishing import hub_repository

SPLICE = str(ROOT / "hf_bertx" / "data" / "dna-splice")
Publish = Callable[..., tuple[int, str, str]]
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


@pytest.fixture
def publish(hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Publish:
    """`bertx publish ...` in this process, with the double as its Hub: exit code, output, last line of errors.

    (As commands of their own: tests/publishing/test_hub.py.)
    """
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_owner")

    def act(*argv: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["publish", *argv])
        out, err = capsys.readouterr()
        assert "hf_owner" not in out + err
        return code, out.strip(), (err.strip().splitlines() or [""])[-1].removeprefix("bertx: error: ")

    return act


@pytest.fixture
def run_copy(run_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_folder, tmp_path / "runs" / "seed-0"))


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The smallest app: no model has to be loaded to publish it."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "README.md").write_text("---\nsdk: gradio\n---\n")
    return tmp_path / "app"


def test_data_needs_a_licence_or_a_permission(tmp_path: Path, publish: Publish, hub: HubServer) -> None:
    (tmp_path / "H3.txt").write_text(histone())
    build_dataset("dna-h3", tmp_path / "built", raw_dir=tmp_path)
    for options in ((), ("--dry_run",)):
        code, _, error = publish("dataset", str(tmp_path / "built"), *options)
        assert code == 2
        assert error.startswith("dna-h3 is not published: no licence is stated")
        assert error.endswith("pass --i-have-permission")
    assert hub.requests == []
    code, out, _ = publish("dataset", str(tmp_path / "built"), "--i-have-permission")
    assert (code, out.endswith("tagged v1")) == (0, True)
    assert 'load_dataset("bertx/dna-h3"' in hub.files("bertx/dna-h3", "dataset")["README.md"].decode()


def test_own_data_needs_a_name_and_gets_its_card(tmp_path: Path, publish: Publish, hub: HubServer) -> None:
    assert publish("dataset", str(tmp_path))[2] == f"{tmp_path}: no build; `bertx data build` makes one"
    file, built = tmp_path / "promoters.csv", str(tmp_path / "built")
    file.write_text("sequence,label\n" + "".join(f"ACGT{'ACGT'[i % 4]}{'AC'[i % 2]},{i % 2}\n" for i in range(60)))
    build_dataset("promoters", Path(built), builder_options={"train_file": str(file), "discipline": "dna"})
    code, _, error = publish("dataset", built, "--i-have-permission")
    assert (code, error) == (2, "promoters is your own data: name its repository as OWNER/NAME")
    assert publish("dataset", built, "owner/promoters", "--i-have-permission")[0] == 0
    files = hub.files("owner/promoters", "dataset")
    assert 'load_dataset("owner/promoters")' in files["README.md"].decode()
    assert not [name for name, content in files.items() if str(tmp_path).encode() in content]


def test_a_dry_run_shows_everything_and_sends_nothing(run_copy: Path, publish: Publish, hub: HubServer) -> None:
    code, out, _ = publish("model", str(run_copy), "bertx/tiny", "--dry_run", "--private")
    assert code == 0
    assert out.startswith("bertx/tiny (model, revision main, private): nothing is sent in a dry run\n")
    assert [line.split()[2] for line in out.splitlines()[1:10]] == (
        "README.md config.json log_history.json loss_curve.png model.safetensors results.json run.json tokenizer.json "
        "tokenizer_config.json"
    ).split()
    assert f"{(run_copy / 'model' / 'model.safetensors').stat().st_size / 1000:.1f} kB  model.safetensors" in out
    assert "\n# tiny\n" in out
    assert (hub.requests, hub.repositories) == ([], {})


def test_unchanged_files_are_not_sent_again(run_copy: Path, publish: Publish, hub: HubServer) -> None:
    code, out, _ = publish("model", str(run_copy), "bertx/tiny")
    assert code == 0
    assert out.startswith(f"published {hub.url}/bertx/tiny: 9 files, ")
    repository = hub.repository("bertx/tiny")
    titles = [commit.title for commit in repository.commits.values()]
    assert titles == ["initial commit", "Model, tokenizer and card of a run of hf_bertx"]
    assert repository.tags == {"v1": repository.branches["main"]}
    hub.requests.clear()
    code, out, _ = publish("model", str(run_copy), "bertx/tiny")
    assert (code, out.startswith("nothing to do: "), out.endswith(", tagged v1")) == (0, True, True)
    assert not [line for line in hub.requests if line.startswith("PUT") or "/commit/" in line or "/tag/" in line]
    edit(run_copy / "results.json", train_seconds=60.0)
    hub.requests.clear()
    assert publish("model", str(run_copy), "bertx/tiny")[1].endswith("tagged v2")
    assert not [line for line in hub.requests if line.startswith("PUT")]  # the weights are the same
    assert set(repository.tags) == {"v1", "v2"}


def test_files_of_an_earlier_upload_go_others_stay(run_copy: Path, publish: Publish, hub: HubServer) -> None:
    measured = {"file": "onnx/model.onnx", "inputs": ["input_ids"], "opset": 18, "sequences": 8, "longest": 60}
    measured |= {"largest_difference": 2e-6, "tolerance": 1e-4, "versions": {"onnxruntime": "1.32.0"}}
    run_files.write_json(run_copy / "onnx" / "export.json", measured)
    (run_copy / "onnx" / "model.onnx").write_bytes(b"exported")
    publish("model", str(run_copy), "bertx/tiny")
    assert "onnx/model.onnx" in hub.files("bertx/tiny")
    assert "differed from PyTorch's by at most 2.0e-06" in hub.files("bertx/tiny")["README.md"].decode()
    repository = hub.repository("bertx/tiny")
    head = repository.find("main")
    assert head is not None
    theirs = {name: File(b"theirs", False) for name in ("drawing.svg", "gguf/extra.safetensors")}
    repository.add("main", "by hand", {**head.files, **theirs})
    shutil.rmtree(run_copy / "onnx")
    publish("model", str(run_copy), "bertx/tiny")
    files = hub.files("bertx/tiny")
    assert set(theirs) <= set(files)
    assert not [name for name in files if name.startswith("onnx/")]
    assert "ONNX" not in files["README.md"].decode()


def test_it_commits_on_top_of_a_faster_commit(app: Path, publish: Publish, hub: HubServer) -> None:
    hub.interlopers = 2
    assert publish("space", str(app), "bertx/demo")[0] == 0
    titles = [commit.title for commit in hub.repository("bertx/demo", "space").commits.values()]
    assert titles == ["initial commit", "somebody else", "somebody else", titles[-1]]
    assert {"note-1.txt", "note-2.txt", "README.md"} <= set(hub.files("bertx/demo", "space"))
    (app / "app.py").write_text("print(1)\n")
    hub.interlopers = 99
    code, _, error = publish("space", str(app), "bertx/demo")
    assert (code, error) == (
        2, "bertx/demo was not published: others commit to it at the same time; try again later"
    )  # fmt: skip


@pytest.mark.parametrize("where", ["within a file", "before the commit"])
def test_a_broken_upload_goes_on_without_sending_twice(
    where: str, run_copy: Path, publish: Publish, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))
    if where == "within a file":
        hub.die_after_bytes = 1000
    else:
        hub.die_before_commit = True
    code, _, error = publish("model", str(run_copy), "bertx/tiny")
    assert (code, hub.dead) == (2, True)
    assert error.endswith("Run the same command again: a commit is whole or not there")
    assert list(hub.repository("bertx/tiny").find("main").files) == [".gitattributes"]  # type: ignore[union-attr]
    hub.requests.clear()
    hub.start()
    assert publish("model", str(run_copy), "bertx/tiny")[1].endswith("tagged v1")
    sent_again = [line for line in hub.requests if line.startswith("PUT")]
    assert where == "within a file" or not sent_again
    weights = (run_copy / "model" / "model.safetensors").read_bytes()
    assert hub.files("bertx/tiny")["model.safetensors"] == weights


@pytest.mark.parametrize(
    ("repo_id", "token", "offline", "message"),
    [
        ("tiny", "hf_owner", False, "repository 'tiny': give it as OWNER/NAME"),
        ("bertx/a--b", "hf_owner", False, "Cannot have -- or .. in repo_id"),
        ("other/tiny", "hf_owner", False, "other/tiny was not published: the token of owner may not write there"),
        ("bertx/tiny", "hf_wrong", False, "bertx/tiny was not published: HUB does not take the token; " + LOG_IN),
        ("bertx/tiny", None, False, "bertx/tiny was not published: no token; " + LOG_IN),
        ("bertx/tiny", "hf_\u00e9", False, "the token is not ASCII, as tokens are; correct HF_TOKEN"),
        ("bertx/tiny", "hf_owner", True, "bertx/tiny was not published: HF_HUB_OFFLINE is set"),
        ("bertx/tiny", "hf_owner", None, "bertx/tiny was not published: HUB does not answer"),
    ],
)
def test_a_refusal_is_one_line(
    repo_id: str, token: str | None, offline: bool | None, message: str,
    app: Path, publish: Publish, hub: HubServer, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(app / "none"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", bool(offline))
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    if offline is None:
        hub.stop()
    code, _, error = publish("space", str(app), repo_id)
    assert (code, message.replace("HUB does", f"{hub.url} does") in error) == (2, True), error
    assert hub.repositories == {}


def test_a_private_repository_is_hidden_from_others(
    run_copy: Path, app: Path, publish: Publish, hub: HubServer
) -> None:
    for kind, folder in {"model": str(run_copy), "dataset": SPLICE, "space": str(app)}.items():
        assert publish(kind, folder, "owner/private", "--private")[0] == 0
        assert HfApi(hub.url, token="hf_owner").repo_info("owner/private", repo_type=kind).private
        for token in (False, "hf_other"):
            with pytest.raises(RepositoryNotFoundError):
                HfApi(hub.url, token=token).repo_info("owner/private", repo_type=kind)
    publish("space", str(app), "owner/public")
    error = publish("space", str(app), "owner/public", "--private")[2]
    assert error == "owner/public is public already; make it private in its settings first"


def test_a_pull_request_needs_no_right_to_write(app: Path, publish: Publish, hub: HubServer) -> None:
    hub.accounts["hf_other"] = ("other", ("other", "bertx"))
    assert publish("space", str(app), "bertx/demo")[0] == 0
    before = hub.files("bertx/demo", "space")
    hub.accounts["hf_owner"] = ("owner", ("owner",))
    (app / "app.py").write_text("print(1)\n")
    assert publish("space", str(app), "bertx/demo")[0] == 2
    code, out, _ = publish("space", str(app), "bertx/demo", "--create_pr")
    assert code == 0
    assert out.startswith(f"proposed {hub.url}/spaces/bertx/demo/discussions/1: 2 files")
    assert hub.files("bertx/demo", "space") == before
    assert hub.files("bertx/demo", "space", revision="refs/pr/1") != before
    assert set(hub.repository("bertx/demo", "space").tags) == {"v1"}


def test_branches_and_tags(app: Path, publish: Publish, hub: HubServer) -> None:
    publish("space", str(app), "bertx/demo", "--tag", "paper")
    repository = hub.repository("bertx/demo", "space")
    assert repository.tags == {"paper": repository.branches["main"]}
    (app / "app.py").write_text("print(1)\n")
    error = publish("space", str(app), "bertx/demo", "--tag", "paper")[2]
    assert error == "bertx/demo has a version paper already; a version is not moved"
    code, out, _ = publish("space", str(app), "bertx/demo", "--revision", "trial")
    assert (code, "tagged" in out) == (0, False)
    assert repository.branches["trial"] != repository.branches["main"] == repository.tags["paper"]


def test_a_commit_whose_tag_fails_is_named(app: Path, publish: Publish, hub: HubServer) -> None:
    assert "a pull request has no tag" in publish("space", str(app), "bertx/demo", "--tag", "x", "--create_pr")[2]
    hub.refusals.append(["/tag/", 409, None, 1])
    code, _, error = publish("space", str(app), "bertx/demo")
    head = hub.repository("bertx/demo", "space").branches["main"]
    assert (code, f"bertx/demo holds commit {head[:12]}, but its tag is missing: " in error) == (2, True)
    assert publish("space", str(app), "bertx/demo")[1].endswith("tagged v1")


def test_a_study_gets_stable_names(run_copy: Path, publish: Publish, hub: HubServer) -> None:
    root = run_copy.parent
    for folder, values in (("seed-3", {"seed": 3}), ("other", {"arm": "re_emb", "start": "re_emb"})):
        respecify(shutil.copytree(run_copy, root / folder), **values)
    shutil.copytree(run_copy, root / "unfinished")
    (root / "unfinished" / run_files.RESULTS).unlink()
    bare = Path(shutil.copytree(run_copy, root / "bare"))
    shutil.rmtree(bare / run_files.MODEL)
    respecify(bare, arm="random_body")
    code, out, error = publish("study", str(root), "--namespace", "owner")
    assert code == 0, error
    first, _, out = out.partition("\n")
    assert first == f"left out, for they hold no weights: {bare}"
    name = "owner/tiny-bert0-dna-splice"
    assert [line.split()[1] for line in out.splitlines()] == [f"{hub.url}/{name}:", f"{hub.url}/{name}-re_emb:"]
    card = hub.files(name)["README.md"].decode()
    assert "| test | 160 | mean of 2 seeds | " in card
    assert "Seeds 0, 3; in brackets, the 95% interval" in card
    assert json.loads(hub.files(name)["run.json"])["specification"]["seed"] == 0
    assert publish("study", str(root), "--namespace", "owner", "--all_seeds")[0] == 0
    assert json.loads(hub.files(name, revision="seed-3")["run.json"])["specification"]["seed"] == 3
    shutil.copytree(run_copy, root / "again")
    assert "publish one of them by hand" in publish("study", str(root))[2]
    assert "no run below it is finished" in publish("study", str(root / "unfinished"))[2]


def test_a_space_is_the_folder_of_an_app(tmp_path: Path, publish: Publish, hub: HubServer) -> None:
    app = tmp_path / "demo"
    (app / "__pycache__").mkdir(parents=True)
    (app / "__pycache__" / "app.pyc").write_bytes(b"x")
    (app / "app.py").write_text("print(1)\n")
    error = publish("space", str(app), "bertx/demo")[2]
    assert error == f"{app}: a Space needs a README.md whose front matter says `sdk: gradio`"
    (app / "README.md").write_text("---\nsdk: [\n---\n")
    error = publish("space", str(app), "bertx/demo")[2]
    assert error.startswith(f"{app / 'README.md'}: its front matter cannot be read (while parsing a flow node")
    (app / "README.md").write_text("---\ntitle: Demo\nsdk: gradio\napp_file: app.py\n---\n# Demo\n")
    assert publish("space", str(app), "bertx/demo")[0] == 0
    assert set(hub.files("bertx/demo", "space")) == {".gitattributes", "README.md", "app.py"}
    ours = ROOT / "spaces" / "demo"
    assert publish("space", str(ours), "bertx/splice")[0] == 0
    named = {path.name for path in ours.iterdir() if path.is_file()}
    assert set(hub.files("bertx/splice", "space")) == {".gitattributes", *named}
    assert {"app.py", "README.md", "requirements.txt"} <= named
    assert publish("space", str(tmp_path / "none"), "bertx/demo")[2] == f"{tmp_path / 'none'}: no such folder"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model/model.safetensors", None, "RUN: the folder model holds no weights; train the run again to publish it"),
        ("results.json", None, "the run is not finished, it has no results.json"),
        ("results.json", "{}", "RUN/results.json: damaged (KeyError: 'metrics'); remove the folder to run again"),
        ("run.json", "{}", "RUN/run.json: it has no specification; remove the folder to run again"),
    ],
)
def test_an_incomplete_run_is_not_published(
    file: str, content: str | None, message: str, run_copy: Path, publish: Publish
) -> None:
    (run_copy / file).unlink()
    if content is not None:
        (run_copy / file).write_text(content)
    assert message.replace("RUN", str(run_copy)) in publish("model", str(run_copy), "bertx/tiny", "--dry_run")[2]


@pytest.mark.parametrize("how", ["zeros", "missing"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_model_is_not_published(
    name: str, how: str, run_copy: Path, publish: Publish, hub: HubServer
) -> None:
    damage(run_copy / "model" / name, how)
    code, _, error = publish("model", str(run_copy), "bertx/tiny", "--dry_run")
    assert (code, bool(error), hub.repositories) == (2, True, {})


def test_an_example_may_be_longer_than_the_items_of_a_run(
    tiny_backbone: Path, tmp_path: Path, publish: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    logging.enable_propagation()
    run = train_own(tiny_backbone, tmp_path / "runs", dna_table(tmp_path / "own.csv", "a b"))
    assert publish("model", str(run.folder), "owner/own", "--dry_run")[0] == 0
    assert "indexing errors" not in caplog.text


@pytest.mark.parametrize("text", ["TOKEN = 'hf_" + "a1B2" * 9 + "'", "mine: hf_owner_of_this"])
def test_no_token_is_sent(
    text: str, app: Path, publish: Publish, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_owner_of_this")
    (app / "app.py").write_text(text)
    code, _, error = publish("space", str(app), "owner/app", "--dry_run")
    assert (code, error.split(",")[0], hub.requests) == (2, "app.py holds a token of the Hub", [])


@pytest.mark.parametrize("pattern", ["GET /api/whoami", "/revision/", "/validate-yaml", "/commit/"])
def test_a_busy_hub_is_asked_again(
    pattern: str, app: Path, publish: Publish, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_repository, "_WAITS", (0, 0, 0))
    hub.refusals += [[pattern, 503, None, 1], [pattern, 500, None, 1]]
    code, out, error = publish("space", str(app), "owner/app")
    assert (code, error) == (0, "")
    assert out.startswith("published ")
    assert [refusal[3] for refusal in hub.refusals] == [0, 0]
