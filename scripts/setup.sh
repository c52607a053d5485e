#!/usr/bin/env bash
# Installs what is missing to build, test and demonstrate agent-portail; does nothing, and says nothing, where all is there.
#
#   scripts/setup.sh          everything: also what the tests need, and cargo's clippy and rustfmt
#   scripts/setup.sh demo     what a build and the demo need: also PostgreSQL
#   scripts/setup.sh build    what a build needs
#   scripts/setup.sh bench    what `make bench` needs besides: Python's venv, and inotifywait
#   scripts/setup.sh monitoring   what `make test-monitoring` needs besides: Prometheus with promtool, node_exporter, Node.js with the
#                                 types of Grafana. Debian's packages of the first two start as services.
set -euo pipefail

# Each missing thing as Debian names its package. What others call it is said by `advise`.
packages=()

find_missing() {
  # ring and the linker.
  command -v cc >/dev/null || packages+=(gcc libc6-dev)
  if [ "$(uname -s)" = Linux ]; then
    # The journal.
    command -v pkg-config >/dev/null || packages+=(pkg-config)
    pkg-config --exists libsystemd 2>/dev/null || packages+=(libsystemd-dev)
  fi
  [ "$1" = build ] || has_postgresql || packages+=(postgresql)
  if [ "$1" = all ] && [ "$(uname -s)" = Linux ]; then
    # A file system that tells of no changes by others.
    command -v bindfs >/dev/null || packages+=(bindfs)
  fi
  if [ "$1" = monitoring ]; then
    command -v promtool >/dev/null || packages+=(prometheus)
    command -v prometheus-node-exporter >/dev/null || packages+=(prometheus-node-exporter)
    command -v npm >/dev/null || packages+=(npm)
  fi
  [ "$1" = bench ] || return 0
  python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
  command -v inotifywait >/dev/null || packages+=(inotify-tools)
}

has_postgresql() {
  local bin
  for bin in /usr/lib/postgresql/*/bin $(tr ':' ' ' <<<"$PATH"); do
    [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ] && [ -x "$bin/psql" ] && [ -x "$bin/pg_isready" ] && return 0
  done
  return 1
}

install_packages() {
  if ! command -v apt-get >/dev/null; then
    advise >&2
    exit 1
  fi
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "setup: run this as root, since there is no sudo:  apt-get install ${packages[*]}" >&2
      exit 1
    fi
    as_root=(sudo)
  fi
  echo "setup: installing ${packages[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq)
  # The package lists may be missing (a fresh container) or stale; fetching them is only worth it then.
  "${apt[@]}" install -y --no-install-recommends "${packages[@]}" >/dev/null 2>&1 || {
    "${apt[@]}" update
    "${apt[@]}" install -y --no-install-recommends "${packages[@]}"
  }
}

advise() {
  echo "setup: missing (as Debian names them): ${packages[*]}"
  echo "This is not a Debian or Ubuntu system; install what corresponds, then run make again:"
  echo "  Fedora, RHEL   dnf install gcc pkgconf-pkg-config systemd-devel postgresql-server bindfs"
  echo "  Arch           pacman -S --needed gcc pkgconf systemd-libs postgresql bindfs"
  echo "  openSUSE       zypper install gcc pkgconf systemd-devel postgresql-server bindfs"
  [[ " ${packages[*]} " != *" prometheus"* ]] || echo "and for the test of monitoring: prometheus with promtool, node_exporter as prometheus-node-exporter, npm"
  [[ " ${packages[*]} " != *" inotify-tools "* ]] || echo "and for the bench, which runs on Linux: Python 3.11 or later, inotify-tools"
  echo "  macOS          xcode-select --install; brew install postgresql"
}

find_toolchain() {
  if ! command -v "${CARGO:-cargo}" >/dev/null; then
    echo "setup: cargo is missing; install Rust from https://rustup.rs" >&2
    exit 1
  fi
  [ "$1" = all ] || return 0
  local component
  for component in clippy fmt; do
    "${CARGO:-cargo}" "$component" --version >/dev/null 2>&1 && continue
    if ! command -v rustup >/dev/null; then
      echo "setup: \`cargo $component\` is missing; install it with your Rust toolchain" >&2
      exit 1
    fi
    rustup component add "${component/fmt/rustfmt}"
  done
}

what=${1:-all}
find_toolchain "$what"
find_missing "$what"
[ ${#packages[@]} -eq 0 ] || install_packages
if [ "$what" = monitoring ]; then
  cd "$(dirname "$0")/../packaging/grafana/typecheck"
  # Their versions are exact, so what is there is right if it is of them.
  [ node_modules/installed -nt package.json ] || {
    npm install --no-audit --no-fund --loglevel=error
    touch node_modules/installed
  }
fi
