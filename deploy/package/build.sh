#!/bin/bash
# Builds the Debian package, and one with its debug symbols, into target/package:
#   deploy/package/build.sh [amd64|arm64]     this machine's unless told
# Needs cargo-deb (cargo install --locked cargo-deb); for the other architecture its rustup
# target and linker (apt install gcc-aarch64-linux-gnu).
set -euo pipefail
cd "$(dirname "$0")/../.."
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
host=$(dpkg --print-architecture)
architecture=${1:-$host}
case $architecture in
  amd64) target=x86_64-unknown-linux-gnu ;;
  arm64) target=aarch64-unknown-linux-gnu ;;
  *) echo "amd64 or arm64, not $architecture" >&2; exit 2 ;;
esac
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER:-aarch64-linux-gnu-gcc}
out=target/package
rm -rf "$out"
mkdir -p "$out/units"

# Pages and completions come from a binary that runs here.
if [ "$architecture" = "$host" ]; then
  cargo build --locked --release --target "$target"
  program=target/$target/release/fanal
else
  cargo build --locked
  program=target/debug/fanal
fi
"$program" generate --dir "$out"
gzip -9 -n "$out"/man/*.1
for unit in deploy/*.service; do
  sed 's|/usr/local/bin/|/usr/bin/|; /^# The .*Put the binary/,/^#   systemctl/d' "$unit" >"$out/units/$(basename "$unit")"
done

# The papers, with links as they are laid out in the package.
for paper in deploy/guide/*.md deploy/reference/*.md; do
  folder=$out/doc/$(basename "$(dirname "$paper")")
  mkdir -p "$folder"
  sed 's|\.\./\.\./certs/README\.md|../certs.md|g' "$paper" >"$folder/$(basename "$paper")"
done
sed 's|\.\./deploy/|./|g' certs/README.md >"$out/doc/certs.md"

cargo deb --locked --target "$target" --dbgsym --output "$out/"
(cd "$out" && sha256sum ./*.deb ./*.ddeb >SHA256SUMS && cat SHA256SUMS)
