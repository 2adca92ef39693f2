#!/bin/bash
# What CI checks before the tests, from any directory of the tree.
set -euo pipefail
cd "$(git rev-parse --show-toplevel)"
cargo fmt --check
CLIPPY_CONF_DIR=deploy/dev cargo clippy --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
if command -v systemd-analyze >/dev/null; then
  for unit in gateway receiver; do
    systemd-analyze security --no-pager --offline=true --threshold=15 "deploy/fanal-$unit.service" >/dev/null ||
      { echo "deploy/fanal-$unit.service: exposure is above 1.5: systemd-analyze security says why"; exit 1; }
  done
else
  echo "the units' check: skipped: systemd-analyze not found"
fi
if command -v npm >/dev/null; then
  deploy/dev/page/check.sh
else
  echo "the page's check: skipped: npm not found"
fi
