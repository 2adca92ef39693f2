#!/bin/bash
# What CI checks before the tests, from any directory of the tree.
set -euo pipefail
cd "$(git rev-parse --show-toplevel)"
cargo fmt --check
CLIPPY_CONF_DIR=deploy/dev cargo clippy --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
if command -v npm >/dev/null; then
  deploy/dev/page/check.sh
else
  echo "the page's check: skipped: npm not found"
fi
