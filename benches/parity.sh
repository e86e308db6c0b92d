#!/usr/bin/env bash
# Holds the RocksDB rows of this harness against RocksDB's own db_bench, in turns, with the same
# options. Needs db_bench (Debian: rocksdb-tools), jq, and a build with the feature rocksdb:
#
#   RUSTFLAGS="-C target-cpu=native" cargo build --release -p orlop-benches --features rocksdb
#   benches/parity.sh target/release/orlop-benches [ROUNDS] [ENTRIES]
#
# Prints one line for each round and workload: what db_bench did, what the harness did, the ratio.
# DB_BENCH names another db_bench than the one on the path: benches/db_bench.sh builds the one of
# the RocksDB that the harness links.
set -euo pipefail

db_bench=${DB_BENCH:-db_bench}
harness=${1:?usage: benches/parity.sh HARNESS [ROUNDS] [ENTRIES]}
rounds=${2:-3}
entries=${3:-3000000}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# As benches/src/engine/rocksdb.rs sets it.
options=(--num="$entries" --key_size=16 --value_size=100 --compression_type=none
    --cache_size=$((1 << 30)) --cache_type=hyper_clock_cache --bloom_bits=10
    --write_buffer_size=$((64 << 20)) --max_write_buffer_number=2 --max_background_jobs=2
    --open_files=-1 --disable_wal=0 --seek_nexts=10 --compression_ratio=0.5)

# Reads come in a process of their own, as in the harness: in the one that has filled, RocksDB reads
# half as fast, with its blocks scattered over the heap.
theirs() { # FILLING BENCHMARKS NAME: operations a second
    rm -rf "$dir/db"
    if [ -n "$1" ]; then
        "$db_bench" --db="$dir/db" "${options[@]}" --benchmarks="$1" >/dev/null 2>&1
    fi
    "$db_bench" --db="$dir/db" "${options[@]}" ${1:+--use_existing_db=1} --benchmarks="$2" 2>&1 |
        sed -nE "s|^.*$3 +:.* ([0-9]+) ops/sec.*|\1|p" | tail -1
}

ours() { # WORKLOADS NAME: operations a second
    rm -rf "$dir/run"
    "$harness" run --engines rocksdb --workloads "$1" --tables uncompressed --rounds 1 \
        --entries "$entries" --seconds 5 --fill-seconds 10 --key-shape binary \
        --out "$dir/run" >/dev/null 2>&1
    jq -r "select(.workload == \"$2\") | .measured | .operations / .seconds | round" \
        "$dir/run/rounds.jsonl"
}

"$db_bench" --version 2>/dev/null | head -1 || true
printf '%-14s %12s %12s %7s\n' workload db_bench harness ratio
for ((round = 1; round <= rounds; round++)); do
    for pair in \
        "|fillrandom|fillrandom|fillrandom" \
        "filluniquerandom,waitforcompaction|readseq,readrandom|readrandom|readrandom" \
        "filluniquerandom,waitforcompaction|readseq,readseq|readseq|readseq"; do
        IFS='|' read -r filling benchmarks workloads our_name <<<"$pair"
        a=$(theirs "$filling" "$benchmarks" "$our_name")
        b=$(ours "$workloads" "$our_name")
        awk -v n="$our_name" -v a="$a" -v b="$b" \
            'BEGIN { printf "%-14s %12d %12d %7.2f\n", n, a, b, b / a }'
    done
done
