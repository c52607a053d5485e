#!/usr/bin/env bash
# A throw-away Debian with a real systemd as its first process, and with no network but its loopback.
#
#   container.sh base                 makes the tree that all are laid over, once: Debian 12, systemd, PostgreSQL
#   container.sh up NAME [OPTION…]    boots one over it; the options are systemd-nspawn's, such as --bind-ro=/here:/there
#   container.sh in NAME COMMAND…     runs a command in it; its exit status is ours
#   container.sh net NAME COMMAND…    runs a program of this machine on the container's loopback
#   container.sh down NAME            powers it off, and removes what it has written
#
# Needs root, and the packages systemd-container and mmdebstrap. It neither asks nor tells the systemd of this machine anything,
# ends no process but those that it started, and leaves nothing but the base behind. HOME_OF_CONTAINERS says where that is.
set -euo pipefail

home=${HOME_OF_CONTAINERS:?where containers may be kept}
base=$home/base
# A container that somebody forgot powers off by itself.
longest=${LONGEST:-1800}
packages=systemd,systemd-sysv,dbus,libnss-systemd,procps,iproute2,ca-certificates,curl,man-db,postgresql,bash-completion

fail() {
  echo "container: $*" >&2
  exit 99
}

make_base() {
  # What it is made of is part of its name, so that another list makes another base.
  [ "$(cat "$base/.made-of" 2>/dev/null)" = "$packages" ] && return
  [ "$(id -u)" = 0 ] || fail "only root can make it"
  echo "container: making the base, which takes some minutes the first time" >&2
  mkdir -p "$home"
  rm -rf --one-file-system "$base"
  # From where this machine has its own packages.
  local sources=()
  mapfile -t sources < <(find /etc/apt -maxdepth 2 \( -name '*.sources' -o -name '*.list' \) | sort)
  cat "${sources[@]}" >"$home/sources"
  mmdebstrap --mode=root --variant=apt --include="$packages" bookworm "$base" "$home/sources" >"$home/base.log" 2>&1 || {
    tail -20 "$home/base.log" >&2
    fail "the base could not be made"
  }
  # Nothing that happens by the clock, and a journal that drops nothing.
  local unit
  for unit in apt-daily.timer apt-daily-upgrade.timer console-getty.service; do
    ln -sf /dev/null "$base/etc/systemd/system/$unit"
  done
  mkdir -p "$base/etc/systemd/journald.conf.d"
  printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n' >"$base/etc/systemd/journald.conf.d/test.conf"
  : >"$base/etc/machine-id"
  echo "$packages" >"$base/.made-of"
}

up() {
  local name=$1 place=$home/$1 first
  shift
  [ ! -e "$place" ] || fail "there is one of the name $name already"
  make_base
  mkdir -p "$place/upper" "$place/work" "$place/root"
  mount -t overlay "portail-$name" -o "lowerdir=$base,upperdir=$place/upper,workdir=$place/work" "$place/root"
  (
    # Control groups of its own, in whichever hierarchies this machine has.
    for hierarchy in /sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup; do
      [ -w "$hierarchy/cgroup.procs" ] || continue
      mkdir -p "$hierarchy/portail-$name"
      echo "$BASHPID" >"$hierarchy/portail-$name/cgroup.procs"
    done
    exec env SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 setsid timeout -k 20 "$longest" systemd-nspawn --quiet -D "$place/root" \
      -M "$name" --boot --register=no --keep-unit --console=pipe --resolv-conf=off --timezone=off --link-journal=no \
      --kill-signal=SIGRTMIN+4 --private-network "$@" systemd.log_target=journal </dev/null >"$place/console" 2>&1
  ) &
  echo $! >"$place/timeout"
  for _ in $(seq 300); do
    kill -0 "$(cat "$place/timeout")" 2>/dev/null || {
      cat "$place/console" >&2
      fail "$name ended while it booted"
    }
    first=$(first_process "$place")
    if [ -n "$first" ]; then
      echo "$first" >"$place/first"
      # `degraded` is up as well: a unit that has no place in a container may have failed.
      case $(inside "$name" systemctl is-system-running 2>/dev/null || true) in running | degraded) return 0 ;; esac
    fi
    sleep 0.1
  done
  cat "$place/console" >&2
  inside "$name" systemctl list-jobs >&2 || true
  fail "$name did not come up within 30 s"
}

# The process that systemd is in the container, as this machine numbers it: timeout, systemd-nspawn, systemd.
first_process() {
  local child nspawn=
  for child in $(children "$(cat "$1/timeout")"); do
    [ "$(cat "/proc/$child/comm" 2>/dev/null)" != systemd-nspawn ] || nspawn=$child
  done
  [ -n "$nspawn" ] || return 0
  echo "$nspawn" >"$1/nspawn"
  for child in $(children "$nspawn"); do
    case $(cat "/proc/$child/comm" 2>/dev/null) in systemd | init) echo "$child" ;; esac
  done
}

children() {
  cat "/proc/$1/task/$1/children" 2>/dev/null || true
}

first_of() {
  local first
  first=$(cat "$home/$1/first" 2>/dev/null) || fail "$1 is not up"
  [ -d "/proc/$first" ] || fail "$1 has ended"
  echo "$first"
}

inside() {
  local first
  first=$(first_of "$1")
  shift
  nsenter -t "$first" -m -u -i -n -p -C -r -w env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 HOME=/root SYSTEMD_PAGER= SYSTEMD_COLORS=0 DEBIAN_FRONTEND=noninteractive "$@"
}

on_network() {
  local first
  first=$(first_of "$1")
  shift
  exec nsenter -t "$first" -n "$@"
}

down() {
  local name=$1 place=$home/$1 process
  [ -d "$place" ] || return 0
  if process=$(cat "$place/first" 2>/dev/null) && [ -d "/proc/$process" ]; then
    inside "$name" systemctl poweroff --no-block 2>/dev/null || true
  fi
  for process in timeout nspawn first; do
    process=$(cat "$place/$process" 2>/dev/null) || continue
    for _ in $(seq 75); do
      lives "$process" || break
      sleep 0.2
    done
    lives "$process" && kill -9 "$process" 2>/dev/null || true
  done
  for _ in $(seq 20); do
    mountpoint -q "$place/root" || break
    umount "$place/root" 2>/dev/null || sleep 0.2
  done
  mountpoint -q "$place/root" && umount -l "$place/root"
  rm -rf --one-file-system "$place"
  find /sys/fs/cgroup/*/"portail-$name" "/sys/fs/cgroup/portail-$name" -depth -type d -exec rmdir {} \; 2>/dev/null || true
}

lives() {
  [ -d "/proc/$1" ] && [ "$(awk '{ print $3 }' "/proc/$1/stat" 2>/dev/null)" != Z ]
}

verb=${1:?what to do}
shift
case $verb in
  base) make_base ;;
  up) up "$@" ;;
  in) inside "$@" ;;
  net) on_network "$@" ;;
  down) down "$@" ;;
  *) fail "what is $verb?" ;;
esac
