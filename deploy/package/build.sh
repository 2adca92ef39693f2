#!/bin/bash
# Builds the Debian packages, each with its debug symbols apart, a list of what is in them (SBOM,
# CycloneDX) and checksums, into target/package:
#   deploy/package/build.sh [amd64|arm64]...     this machine's unless told
# Needs cargo-deb (cargo install --locked cargo-deb) and python3; for the other architecture its rustup
# target and a C compiler (rustup target add aarch64-unknown-linux-gnu; apt install gcc-aarch64-linux-gnu
# libc6-dev-arm64-cross), and qemu-user-static to try the result. Where lintian is installed it judges.
# FANAL_PROFILE: another cargo profile than release, to try the packaging; FANAL_PROGRAM: a program that
# was built before.
#
# The same commit, toolchain and directory give the same bytes: dependencies are locked, times are the
# commit's. The directory counts because debug symbols name it.
set -euo pipefail
cd "$(dirname "$0")/../.."
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
profile=${FANAL_PROFILE:-release}
target_dir=${CARGO_TARGET_DIR:-target}
host=$(dpkg --print-architecture)
out=target/package
SIZE_LIMIT=25000000
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)-1

# The papers, with links as they are laid out in the package.
papers() {
  local paper folder
  for paper in deploy/guide/*.md deploy/reference/*.md; do
    folder=$out/doc/$(basename "$(dirname "$paper")")
    mkdir -p "$folder"
    sed 's|\.\./\.\./certs/README\.md|../certs.md|g' "$paper" >"$folder/$(basename "$paper")"
  done
  sed 's|\.\./deploy/|./|g' certs/README.md >"$out/doc/certs.md"
  for unit in deploy/*.service; do
    sed 's|/usr/local/bin/|/usr/bin/|; /^# The .*Put the binary/,/^#   systemctl/d' "$unit" \
      >"$out/units/$(basename "$unit")"
  done
  gzip -9 -n -c CHANGELOG.md >"$out/changelog.gz"
  cat >"$out/changelog.Debian" <<LINES
fanal ($version) stable; urgency=medium

  * changelog.gz beside this file says what changed.

 -- fanal <maintainers@fanal.org>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
LINES
}

build() {
  local architecture=$1 target program strip=
  case $architecture in
    amd64) target=x86_64-unknown-linux-gnu ;;
    arm64) target=aarch64-unknown-linux-gnu ;;
    *) echo "amd64 or arm64, not $architecture" >&2; exit 2 ;;
  esac
  # This machine's own is built where cargo build --release has it already.
  local for_target=() folder=$target_dir/${profile/#dev/debug} tools=
  if [ "$architecture" != "$host" ]; then
    for_target=(--target "$target")
    folder=$target_dir/$target/${profile/#dev/debug}
    tools=${target/-unknown/}-
    export "CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_LINKER=${tools}gcc"
  fi
  program=${FANAL_PROGRAM:-$folder/fanal}
  if [ -z "${FANAL_PROGRAM:-}" ]; then
    cargo build --locked --profile "$profile" --bin fanal "${for_target[@]}"
  fi

  # Symbols apart: the debugger finds them by the build id.
  local staged=$out/$architecture id
  mkdir -p "$staged"
  id=$("${tools}readelf" -n "$program" | sed -n 's/.*Build ID: //p')
  "${tools}objcopy" --only-keep-debug "$program" "$staged/fanal.debug"
  "${tools}strip" --strip-unneeded -o "$staged/fanal" "$program"
  local size
  size=$(stat -c %s "$staged/fanal")
  if [ "$profile" = release ] && [ "$size" -ge "$SIZE_LIMIT" ]; then
    echo "WARNING: the program has $size bytes, the aim is below $SIZE_LIMIT" >&2
  fi

  # Pages and completions come from the program itself, so it must run here.
  "$staged/fanal" generate --dir "$out"
  gzip -f -9 -n "$out"/man/*.1
  python3 deploy/package/sbom.py "$target" >"$out/fanal.cdx.json"
  cp "$out/fanal.cdx.json" "$out/fanal_${version}_$architecture.cdx.json"
  cp "$staged/fanal" "$out/fanal"
  cargo deb --locked --no-build --no-strip --no-dbgsym --target "$target" --deb-version "$version" \
    --output "$out/fanal_${version}_$architecture.deb"

  # As Debian has them: the package of symbols is the program's, and nothing else.
  local symbols=$out/symbols-$architecture path
  path=$symbols/usr/lib/debug/.build-id/${id:0:2}
  mkdir -p "$path" "$symbols/DEBIAN" "$symbols/usr/share/doc"
  cp "$staged/fanal.debug" "$path/${id:2}.debug"
  ln -s fanal "$symbols/usr/share/doc/fanal-dbgsym"
  cat >"$symbols/DEBIAN/control" <<LINES
Package: fanal-dbgsym
Version: $version
Auto-Built-Package: debug-symbols
Source: fanal
Section: debug
Priority: optional
Architecture: $architecture
Maintainer: fanal <maintainers@fanal.org>
Depends: fanal (= $version)
Build-Ids: $id
Description: debug symbols for fanal
LINES
  find "$symbols" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  dpkg-deb --root-owner-group -Zxz -z1 --build "$symbols" "$out/fanal-dbgsym_${version}_$architecture.deb" >/dev/null
  rm -r "$symbols"
  if command -v lintian >/dev/null; then
    # A user may run it; root is told so each time.
    lintian --allow-root --fail-on error,warning "$out"/*"_${version}_$architecture.deb"
  else
    echo "lintian: not installed, the packages are not judged"
  fi
}

rm -rf "$out"
mkdir -p "$out/units" "$out/doc"
papers
for architecture in "${@:-$host}"; do
  build "$architecture"
done
(cd "$out" && sha256sum ./*.deb ./*.cdx.json >SHA256SUMS && cat SHA256SUMS)
