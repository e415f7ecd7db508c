"""Files of sequences with random bytes changed: each is read as it stands, or refused in one line."""

import gzip
import json
import random
from pathlib import Path

import pytest
from raw_files import midi, parquet

from hf_bertx.data.input_records import read_input

PIECE = midi(*range(40, 80))


def inputs(rng: random.Random) -> dict[str, bytes]:
    """A good file of each form, eight records each."""
    items = [(f"id{n}", "".join(rng.choices("ACGT", k=rng.randint(5, 40))), "ab"[n % 2]) for n in range(8)]
    table = [("id", "sequence", "label"), *items]
    fasta = "".join(f">{i} {label}\n{s}\n" for i, s, label in items).encode()
    return {
        ".fasta": fasta,
        ".fasta.gz": gzip.compress(fasta),
        ".csv": "\n".join(",".join(row) for row in table).encode() + b"\n",
        ".tsv": "\n".join("\t".join(row) for row in table).encode() + b"\n",
        ".jsonl": "".join(json.dumps({"id": i, "sequence": s}) + "\n" for i, s, _ in items).encode(),
        ".parquet": parquet(id=[i for i, _, _ in items], sequence=[s for _, s, _ in items]),
        ".mid": PIECE,
    }


def mutated(content: bytes, rng: random.Random) -> bytes:
    out = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            out[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            out[at:at] = rng.choice(
                [b'"', b"'", b"\n", b"\r", b",", b"\t", b">", b"\x00", b"{", b"NA", b"\xef\xbb\xbf"]
            )
        elif kind == 2:
            del out[at : at + rng.randint(1, 8)]
        elif kind == 3:
            out[at:at] = out[at : at + rng.randint(1, 60)]
        else:
            del out[at:]
        if not out:
            break
    return bytes(out)


def expected_records(text: str, ending: str) -> int:
    """How many records the text has, counted in the plainest way."""
    lines = [line for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line.strip()]
    if ending == ".fasta":
        return sum(line.strip().startswith(">") for line in lines)
    lines = [line for line in lines if line.strip(", " if ending == ".csv" else "\t ")]
    return len(lines) - (ending != ".jsonl")


@pytest.mark.parametrize("cases", [700, pytest.param(2000, marks=pytest.mark.slow)])
def test_fuzzed_inputs_are_read_as_they_stand_or_refused(tmp_path: Path, cases: int) -> None:
    rng, refused = random.Random(20210707), 0
    for number in range(cases):
        good = inputs(rng)
        ending = rng.choice(list(good))
        content = mutated(good[ending], rng)
        path = tmp_path / f"input{ending}"
        path.write_bytes(content)
        try:
            records = list(read_input(path))
        except ValueError as error:
            line, refused = str(error), refused + 1
            assert line.startswith(str(path)), f"{number}: {line!r} does not name the file"
            assert "\n" not in line, f"{number}: {line!r}"
            continue
        if ending in (".fasta.gz", ".parquet", ".mid"):
            continue
        text = content.decode("utf-8-sig")
        assert len(records) == expected_records(text, ending), f"{number}: {text!r} gives {records}"
        plain = "".join(text.split())
        for record in records:
            assert "".join(record.sequence.split()) in plain, f"{number}: {record} is not in the file"
    assert cases // 10 < refused < cases
