#!/usr/bin/env bash
# Everything that a few minutes of a GPU are for, in the order of what matters, without a network.
#
#   benchmarks/gpu_run.sh --output DIR [--bundle DIR | --wheels DIR] [--data DIR] [--text DIR] [--seconds N]
#                         [--archive FILE.tar.xz] [--pieces "a b c"] [--workers N] [--tokenizer DIR] [--cpu]
#
#   (a) at most 170 s: steps of H3 at 6 x 384 and 12 x 768, as they come, compiled and with CUDA graphs, beside stock;
#                      with --tokenizer, all weights are random and minilm-l6 is not needed
#   (b) what is left:  the studies verdict-tuned and verdict-gpu, --workers runs at a time (14), from --archive
#                      where there is one
#   (c) what is left:  pre-training of a BERT 4 x 256 on --text, where (b) is done
#
# Each piece has a time limit of its own and writes to --output as it goes: finetuning.json, verdict-*.tar.xz,
# pretraining.tar.xz, versions.json, log.txt. TMPDIR on a RAM disk saves time. --bundle is what
# benchmarks/gpu_bundle.sh made. --cpu tries the whole on a CPU with a tiny model.
set -uo pipefail

ROOT=$(cd "$(dirname "$0")/.." && pwd)
OUTPUT= BUNDLE= WHEELS= DATA= TEXT= ARCHIVE= SECONDS_LEFT=540 PIECES="a b c" DEVICE=cuda WORKERS=14 TOKENIZER=
while [ $# -gt 0 ]; do
  case $1 in
    --output) OUTPUT=$2; shift 2 ;;
    --bundle) BUNDLE=$2; shift 2 ;;
    --wheels) WHEELS=$2; shift 2 ;;
    --data) DATA=$2; shift 2 ;;
    --text) TEXT=$2; shift 2 ;;
    --archive) ARCHIVE=$2; shift 2 ;;
    --seconds) SECONDS_LEFT=$2; shift 2 ;;
    --pieces) PIECES=$2; shift 2 ;;
    --workers) WORKERS=$2; shift 2 ;;
    --tokenizer) TOKENIZER=$2; shift 2 ;;
    --cpu) DEVICE=cpu; shift ;;
    --help) sed -n '2,/^set/p' "$0" | sed '$d; s/^# \{0,1\}//'; exit 0 ;;
    *) echo "gpu_run.sh: unknown argument $1; --help lists them" >&2; exit 2 ;;
  esac
done
[ -n "$OUTPUT" ] || { echo "gpu_run.sh: --output is missing" >&2; exit 2; }
END=$(($(date +%s) + SECONDS_LEFT))
WORK=$(mktemp -d)
mkdir -p "$OUTPUT"
OUTPUT=$(cd "$OUTPUT" && pwd)
exec > >(tee -a "$OUTPUT/log.txt") 2>&1
cd "$ROOT"
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error HF_DATASETS_DISABLE_PROGRESS_BARS=1
export TOKENIZERS_PARALLELISM=false HF_HOME=$WORK/cache TORCHINDUCTOR_CACHE_DIR=$WORK/inductor

left() { echo $((END - $(date +%s))); }
say() { echo "== $(date +%T) $*, $(left) s left"; }
# limited SECONDS COMMAND...: at most so long, and never beyond the end
limited() {
  local most=$1 rest; shift
  rest=$(left)
  [ "$rest" -gt "$most" ] || most=$rest
  [ "$most" -gt 0 ] || { say "no time for $*"; return 124; }
  timeout --kill-after=5 "$most" "$@"
}

if [ -n "$BUNDLE" ]; then
  cat "$BUNDLE"/bundle.part* | tar xz -C "$WORK" || { say "the bundle in $BUNDLE is not whole"; exit 1; }
  WHEELS=${WHEELS:-$WORK/wheels} DATA=${DATA:-$WORK/data} TEXT=${TEXT:-$WORK/text}
  [ -n "$ARCHIVE" ] || [ ! -f "$WORK/runs.tar.xz" ] || ARCHIVE=$WORK/runs.tar.xz
fi
if [ -n "$WHEELS" ]; then
  limited 60 python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$WORK/site" \
    "$WHEELS"/*.whl || { say "the wheels of $WHEELS could not be installed"; exit 1; }
fi
export PYTHONPATH=$ROOT:$WORK/site:${PYTHONPATH:-}

# versions alone, without importing anything large
limited 10 python3 - "$OUTPUT/versions.json" <<'PY' || { say "the versions are not those that pyproject.toml asks for"; exit 1; }
import json, re, subprocess, sys, tomllib
from importlib.metadata import PackageNotFoundError, version
numbers = lambda text: [int(n) for n in re.findall(r"\d+", text.partition("+")[0])[:3]]
found, wrong = {}, []
for line in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]:
    name, _, least = line.partition(">=")
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        wrong.append(f"{name} is missing")
        continue
    if numbers(found[name]) < numbers(least):
        wrong.append(f"{name} is {found[name]}; at least {least}")
try:
    card = subprocess.run(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"],
                          capture_output=True, text=True).stdout.strip()
except OSError:
    card = ""
json.dump({"python": sys.version.split()[0], "card": card, "packages": found, "wrong": wrong},
          open(sys.argv[1], "w"), indent=2)
print(f"card: {card or 'none'}; torch {found.get('torch')}, transformers {found.get('transformers')}")
sys.exit("\n".join(wrong) or 0)
PY
say "versions are right"

STUDIES="verdict-tuned verdict-gpu"
STEPS="--device cuda --cases h3 h3-base tiny --rounds 12 --seconds 8 --compile_limit 60"
PRETRAIN="--layers 4 --hidden_size 256 --vocabulary_size 8192 --global_batch_size 512 --learning_rate 1e-3"
PRETRAIN="$PRETRAIN --max_steps 12000 --save_steps 1000 --checkpoint_dtype float16 --checkpoint_steps 0 20% 100%"
if [ "$DEVICE" = cpu ]; then
  STUDIES=$WORK/tiny.yaml
  printf 'about: a try on a CPU\ntasks: [dna-splice]\narms: [bert, rand]\nseeds: [0]\n' > "$STUDIES"
  printf 'overrides: {max_steps: 4, eval_steps: 2, logging_steps: 1, max_eval_items: 30}\n' >> "$STUDIES"
  STEPS="--device cpu --cases tiny --loops ours stock --rounds 2 --seconds 2 --threads 1"
  PRETRAIN="--use_cpu --layers 1 --hidden_size 64 --vocabulary_size 300 --global_batch_size 8 --sequence_length 16"
  PRETRAIN="$PRETRAIN --max_steps 4 --checkpoint_steps 0 4 --threads 1"
fi

piece_a() {
  limited 170 python3 benchmarks/finetuning.py $STEPS ${DATA:+--data_dir "$DATA"} \
    ${TOKENIZER:+--tokenizer "$TOKENIZER"} --output "$OUTPUT/finetuning.json"
}

# study NAME SECONDS ARCHIVE [OPTION...]: its runs, so long
study() {
  local name=$1 time=$2 archive=$3; shift 3
  [ "$time" -gt 20 ] || { say "no time for the study $name"; return 124; }
  limited $((time + 10)) python3 -m hf_bertx.cli study "$name" --runs "$WORK/runs" ${DATA:+--data_dir "$DATA"} \
    --archive "$archive" --workers "$WORKERS" --time_limit "${time}s" "$@"
}

piece_b() {
  local name status=0
  for name in $STUDIES; do
    study "$name" $(($(left) - 15)) "$OUTPUT/$(basename "$name" .yaml).tar.xz" ${ARCHIVE:+--from_archive "$ARCHIVE"} \
      || status=$?
  done
  return $status
}

piece_c() {
  local files
  files=$(find "${TEXT:-/nonexistent}" -name '*.txt' 2> /dev/null | sort)
  [ -n "$files" ] || { say "no text to pre-train on"; return 0; }
  # the time limit ends it with its checkpoints on disk: steps that were reached are kept
  limited $(($(left) - 15)) python3 -m hf_bertx.cli pretrain --train_files $files $PRETRAIN \
    --output_dir "$WORK/pretraining"
  [ -d "$WORK/pretraining" ] || return 124
  tar cJf "$WORK/pretraining.tar.xz" -C "$WORK" --exclude='checkpoint-*' --exclude=checkpoints pretraining \
    && cp "$WORK/pretraining.tar.xz" "$OUTPUT/"
}

FAILED=0
for piece in $PIECES; do
  say "piece $piece begins"
  "piece_$piece"; status=$?
  say "piece $piece ended with $status"
  [ "$status" = 0 ] || [ "$status" = 75 ] || FAILED=1
done
rm -rf "$WORK"
ls -l "$OUTPUT"
exit $FAILED
