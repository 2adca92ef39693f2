#!/bin/bash
# Checks the page's JavaScript: its types (tsc), its format (prettier). `--write` formats it first.
# Both tools come through npm: one version each, checked by its hash, kept in a cache. Nothing of
# them is in the tree, and the page needs neither to run.
set -euo pipefail
cd "$(dirname "$0")/../../.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fanal-ci

TYPESCRIPT_VERSION=6.0.3
TYPESCRIPT_SHA256=33cd0ee1beaa8c9e9d15a9da836c62ddea4c34a42d7c2d349dbc80d94165d22a
PRETTIER_VERSION=3.10.1
PRETTIER_SHA256=8625d008f4f0d7d513509ecc269b4b2a551a6f1ea3a57ac880e13e84a434213c

# Unpacks a package without dependencies into the cache.
install_package() {
  local name=$1 version=$2 hash=$3 directory=$cache/$1-$2
  [ -d "$directory" ] && return
  local unpacked
  mkdir -p "$cache"
  unpacked=$(mktemp -d -p "$cache")
  npm pack --silent --pack-destination "$unpacked" "$name@$version" >/dev/null
  echo "$hash  $unpacked/$name-$version.tgz" | sha256sum --check --quiet
  tar -xzf "$unpacked/$name-$version.tgz" -C "$unpacked"
  rm "$unpacked/$name-$version.tgz"
  # Only a whole package has the directory's name.
  mv "$unpacked" "$directory"
}

install_package typescript "$TYPESCRIPT_VERSION" "$TYPESCRIPT_SHA256"
install_package prettier "$PRETTIER_VERSION" "$PRETTIER_SHA256"

format=--check
[ "${1:-}" != --write ] || format=--write
node "$cache/prettier-$PRETTIER_VERSION/package/bin/prettier.cjs" --log-level warn \
  --config deploy/dev/page/prettier.json "$format" "src/console/types.d.ts" "src/console/page/**/*.js"
node "$cache/typescript-$TYPESCRIPT_VERSION/package/bin/tsc" --project deploy/dev/page/tsconfig.json
