#!/bin/bash
# Checks that take too long for every change: the property tests with a fresh seed (printed, so that a
# failure can be repeated) and many cases, then every fuzz target for so many seconds.
#   deploy/dev/nightly.sh [SECONDS]      60 unless told; 0 leaves fuzzing out
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-60}
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
export PROPTEST_CASES=${PROPTEST_CASES:-2000}
echo "=== property tests: PROPTEST_RNG_SEED=$PROPTEST_RNG_SEED PROPTEST_CASES=$PROPTEST_CASES"
cargo test --locked --profile fast --lib
if [ "$seconds" -gt 0 ]; then
  tests/fuzz/all.sh "$seconds"
fi
