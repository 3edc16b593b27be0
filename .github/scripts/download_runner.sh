#!/bin/sh
# Download a release of actions/runner to a folder, compare its checksum, and unpack it.
# VERSION and SHA256 in the environment; if they are empty, the image's: those in Dockerfile.
set -eu
folder=$1
argument() { sed -n "s/^ARG $1=//p" Dockerfile; }
version=${VERSION:-$(argument RUNNER_VERSION)}
sha256=${SHA256:-$(argument RUNNER_SHA256)}
url=${RELEASES:-https://github.com/actions/runner/releases/download}/v$version/actions-runner-linux-x64-$version.tar.gz
mkdir -p "$folder"
archive=$(mktemp)
trap 'rm -f "$archive"' EXIT
curl --fail --silent --show-error --location --retry 3 --output "$archive" "$url"
echo "$sha256  $archive" | sha256sum --check --strict --quiet
tar --extract --gzip --no-same-owner --file "$archive" --directory "$folder"
echo "runner $version is in $folder"
