#!/usr/bin/env bash
# Builds the db_bench of the very RocksDB that the harness links, from the sources of the crate
# librocksdb-sys and the library that its build has left. Needs g++ and gflags (Debian:
# libgflags-dev).
#
#   benches/db_bench.sh TARGET_DIR OUT      TARGET_DIR: where the harness was built with the peers
set -euo pipefail

target=${1:?usage: benches/db_bench.sh TARGET_DIR OUT}
out=${2:?usage: benches/db_bench.sh TARGET_DIR OUT}
cargo_home=${CARGO_HOME:-$HOME/.cargo}
sources=$(ls -d "$cargo_home"/registry/src/*/librocksdb-sys-*/rocksdb | sort -V | tail -1)
library=$(ls -t "$target"/release/build/librocksdb-sys-*/out/librocksdb.a | head -1)
lz4=$(find "$target/release/build" -name 'liblz4.a' | head -1)

# As the crate builds it, with the tool's own flags.
flags=(-std=c++20 -O3 -march=native -DNDEBUG -DHAVE_ALIGNED_NEW -DHAVE_UINT128_EXTENSION
    -DOS_LINUX -DROCKSDB_PLATFORM_POSIX -DROCKSDB_LIB_IO_POSIX -DROCKSDB_SCHED_GETCPU_PRESENT
    -DROCKSDB_AUXV_GETAUXVAL_PRESENT -DROCKSDB_FALLOCATE_PRESENT -DROCKSDB_RANGESYNC_PRESENT
    -DSNAPPY=1 -DLZ4=1 -DGFLAGS=1 -w -fno-rtti
    -I"$sources/include" -I"$sources" -I"$sources/.." -I"$sources/../snappy"
    -I"$sources/third-party/gtest-1.8.1/fused-src")
files=(tools/db_bench.cc tools/db_bench_tool.cc tools/simulated_hybrid_file_system.cc
    tools/tool_hooks.cc test_util/testutil.cc utilities/counted_fs.cc)
objects=()
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for file in "${files[@]}"; do
    [ -e "$sources/$file" ] || continue
    object="$work/$(basename "$file" .cc).o"
    g++ "${flags[@]}" -c "$sources/$file" -o "$object"
    objects+=("$object")
done
# The library and the tool both define a hook (RocksDbIOUringEnable); either will do.
g++ -Wl,--allow-multiple-definition "${objects[@]}" "$library" "$(dirname "$library")/libsnappy.a" \
    "$lz4" -lgflags -lpthread -ldl -o "$out"
