# Shared by the scripts beside it: what they say, and what they need installed.
# Sourced with the working directory at the project's root.

# the project's own build products, and nothing of the user's settings that would change them
target=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TARGET_DIR=$target

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' plain=$'\e[0m'
else
    bold='' red='' green='' yellow='' plain=''
fi

say() { printf '%s\n' "$*"; }
step() { printf '%s== %s%s\n' "$bold" "$*" "$plain"; }
die() { printf '%serror:%s %s\n' "$red" "$plain" "$*" >&2; exit 1; }

# Names of the Debian packages of a group in scripts/packages.
packages_of() {
    local group
    for group in "$@"; do
        sed -n "s/^$group:[[:space:]]*\([^[:space:]#]*\).*/\1/p" scripts/packages
    done | sort -u
}

# Makes sure the packages of the named groups are installed: as root on Debian by installing them,
# otherwise by saying what to install.
need_packages() {
    local missing=() package
    if ! command -v dpkg-query >/dev/null; then
        say "This is not Debian: make sure the equivalents of these packages are installed:"
        say "  $(packages_of "$@" | tr '\n' ' ')"
        return 0
    fi
    for package in $(packages_of "$@"); do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ]; then
        say "Packages are missing. Install them, then try again:"
        say "  sudo apt-get install -y --no-install-recommends ${missing[*]}"
        exit 1
    fi
    step "installing Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # services would start at once; these are only tools here
    local policy=/usr/sbin/policy-rc.d made_policy=''
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy && chmod 0755 $policy && made_policy=1
    fi
    local log=$target/logs/apt.log result=0
    mkdir -p "$target/logs"
    { apt-get update -q && apt-get install -qy --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null || result=$?
    [ -z "$made_policy" ] || rm -f $policy
    if [ $result -ne 0 ]; then
        tail -n 20 "$log"
        die "the packages could not be installed: see $log"
    fi
}

# The pinned toolchain, or a default one that is at least as new where rustup has no way to fetch it.
need_rust() {
    command -v cargo >/dev/null || die "no Rust toolchain: see https://rustup.rs"
    local wanted have
    wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    if ! rustc --version >/dev/null 2>&1; then
        have=$(cd / && rustc --version 2>/dev/null | cut -d' ' -f2) || true
        if [ -n "$have" ] && [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n1)" = "$wanted" ]; then
            say "${yellow}note:${plain} Rust $wanted is not installed; using the default toolchain, $have"
            RUSTUP_TOOLCHAIN=$(cd / && rustup show active-toolchain | cut -d' ' -f1)
            export RUSTUP_TOOLCHAIN
        else
            die "Rust $wanted is not installed: rustup toolchain install $wanted"
        fi
    fi
}

# A cargo tool of a fixed version, built once into target/tools.
need_cargo_tool() {
    local name=$1 version=$2
    export PATH=$target/tools/bin:$PATH
    if [ "$("$target/tools/bin/$name" --version 2>/dev/null | awk '{print $NF}')" != "$version" ]; then
        step "building $name $version (once, about two minutes)"
        # the tool's own speed does not matter; its build time does
        CARGO_TARGET_DIR=$target/tools/build cargo install --quiet --locked --profile dev \
            --root "$target/tools" "$name@$version"
        rm -rf "$target/tools/build"
    fi
}

took() { printf '%d min %02d s' $(($1 / 60)) $(($1 % 60)); }
