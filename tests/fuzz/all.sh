#!/bin/sh
# Runs every target for so many seconds: ./all.sh 120
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
for target in $(cargo +nightly fuzz list --fuzz-dir .); do
    echo "== $target, $seconds s"
    mkdir -p "corpus/$target" "seeds/$target"
    cargo +nightly fuzz run --fuzz-dir . --sanitizer none "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time="$seconds" -timeout=25 -rss_limit_mb=2048 -print_final_stats=1 2>&1 |
        grep -E "panicked|ERROR|SUMMARY|stat::number_of_executed_units|stat::peak_rss_mb|cov:.*DONE|artifact" || true
    if ls "artifacts/$target"/* >/dev/null 2>&1; then
        echo "$target: failed; see artifacts/$target" >&2
        exit 1
    fi
done
