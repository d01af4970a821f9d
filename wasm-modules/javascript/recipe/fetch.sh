#!/bin/bash
# Fetches the QuickJS-NG reactor from the npm package that publishes it and replaces quickjs.wasm.gz.
#
# Needs npm. Fails when the module is not the one this repository was tested with.
set -euo pipefail

PACKAGE=quickjs-wasi@3.6.2
WASM_SHA256=d4c9375f2b1ca4dc95f72c8aa2982a7a9951ac8011490d79c6582df732b4bbd9

MODULE=$(cd "$(dirname "$0")/.." && pwd)
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT

cd "$SCRATCH"
npm pack --silent "$PACKAGE" > /dev/null
tar xzf quickjs-wasi-*.tgz
echo "$WASM_SHA256  package/quickjs.wasm" | sha256sum --check --quiet
gzip -9 -n < package/quickjs.wasm > quickjs.wasm.gz
cp quickjs.wasm.gz "$MODULE/"
cp package/LICENSE "$MODULE/licences/quickjs-wasi.txt"
mv package/quickjs.wasm .
sha256sum quickjs.wasm quickjs.wasm.gz | tee "$MODULE/SHA256SUMS"
