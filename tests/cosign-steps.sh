#!/usr/bin/env bash
# Checks a signature as `cosign verify --key KEY --insecure-ignore-tlog REGISTRY/REPOSITORY@DIGEST` documents it, with curl, jq
# and openssl instead of cosign:
#   1. the signature manifest is under the tag sha256-<hex>.sig of the same repository;
#   2. each of its simple-signing layers is a payload that hashes to the layer's digest;
#   3. the payload names the digest that was asked for;
#   4. the layer's annotation is a signature of exactly the payload's bytes.
# It succeeds when at least one layer passes all four.
#
# usage: cosign-steps.sh REGISTRY-URL REPOSITORY DIGEST PUBLIC-KEY [CURL-CONFIG]
# CURL-CONFIG is a file for `curl --config`: it may hold `user`, `cacert` and the like, so that no secret is an argument.
set -euo pipefail

if [ $# -lt 4 ]; then
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
registry=${1%/} repository=$2 digest=$3 key=$4 config=${5:-/dev/null}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fetch() { curl --config "$config" --silent --show-error --fail --location "$@"; }

tag=${digest/:/-}.sig
fetch --header 'Accept: application/vnd.oci.image.manifest.v1+json' \
    --output "$work/manifest" "$registry/v2/$repository/manifests/$tag"
echo "signature manifest: $repository:$tag"

good=0 number=0
while IFS=$'\t' read -r payload signature; do
    number=$((number + 1))
    fetch --output "$work/payload" "$registry/v2/$repository/blobs/$payload"
    if [ "sha256:$(sha256sum <"$work/payload" | cut -d' ' -f1)" != "$payload" ]; then
        echo "layer $number: the payload does not hash to $payload" >&2
        exit 1
    fi
    named=$(jq -r '.critical.image["docker-manifest-digest"]' "$work/payload")
    kind=$(jq -r '.critical.type' "$work/payload")
    if [ "$named" != "$digest" ] || [ "$kind" != 'cosign container image signature' ]; then
        echo "layer $number: the payload is a \`$kind\` of $named, not of $digest" >&2
        continue
    fi
    base64 -d <<<"$signature" >"$work/signature"
    if openssl pkeyutl -verify -pubin -inkey "$key" -rawin -in "$work/payload" -sigfile "$work/signature" >/dev/null 2>&1; then
        echo "layer $number: signed by the given key, as $(jq -r '.critical.identity["docker-reference"]' "$work/payload")"
        good=$((good + 1))
    else
        echo "layer $number: signed by another key"
    fi
done < <(jq -r '.layers[] | select(.mediaType == "application/vnd.dev.cosign.simplesigning.v1+json")
    | [.digest, .annotations["dev.cosignproject.cosign/signature"]] | @tsv' "$work/manifest")

if [ "$good" -eq 0 ]; then
    echo "no signature of $digest holds under $key" >&2
    exit 1
fi
echo "verified: $repository@$digest"
