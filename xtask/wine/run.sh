#!/usr/bin/env bash
# run.sh EXE ARGUMENT...   Runs one Windows program under wine, in a prefix of its own that the first call makes.
# run.sh --stop            Ends what runs in the prefix, which writes its registry to the disk.
#   RINGFENCE_WINE         the wine program (default: wine64, wine, or Debian's)
#   RINGFENCE_WINE_PREFIX  where the prefix is (default: a directory of this user in the temporary folder)
# Status: the low eight bits of the program's; 124 when it took too long; 3 when wine can't be had.
# Wine is no sandbox, and enforces none of what Ringfence rests on: it shows that programs start and talk.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
state=${RINGFENCE_WINE_PREFIX:-${TMPDIR:-/tmp}/ringfence-plumbing-$(id -u)}
fail() { echo "wine: $*" >&2; exit 3; }

wine=${RINGFENCE_WINE:-}
for candidate in wine64 /usr/lib/wine/wine64 wine; do
    [ -n "$wine" ] || wine=$(command -v "$candidate" || true)
done
[ -n "$wine" ] || fail "there is none (Debian: apt-get install wine wine64)"
server=$(command -v wineserver || echo /usr/lib/wine/wineserver)

mkdir -p -m 700 "$state"
[ -O "$state" ] && [ ! -L "$state" ] || fail "$state is not this user's"
mkdir -p "$state/home" "$state/tmp"
export WINEPREFIX=$state/prefix HOME=$state/home TMPDIR=$state/tmp WINEARCH=win64 WINEDEBUG=${WINEDEBUG:--all}
export WINEDLLOVERRIDES='mscoree=;mshtml=;winemenubuilder.exe='
unset DISPLAY WAYLAND_DISPLAY XDG_CONFIG_HOME XDG_DATA_HOME XDG_CACHE_HOME WINESERVER WINELOADER

if [ "${1:-}" = --stop ]; then
    timeout 30 "$server" -k || true
    timeout 30 "$server" -w || true
    exit 0
fi
[ $# -ge 1 ] || { echo "usage: run.sh EXE [ARGUMENT...] | --stop" >&2; exit 2; }

exec 9>"$state/lock"
flock -w 300 9 || fail "another call makes the prefix"
if [ ! -e "$state/ready" ]; then
    rm -rf -- "${state:?}/prefix"
    timeout -k 5 200 "$wine" wineboot.exe --init </dev/null >"$state/wineboot.log" 2>&1 9>&- \
        || fail "wineboot failed, see $state/wineboot.log"
    timeout 30 "$server" -k 9>&- || true
    timeout 30 "$server" -w 9>&- || true
    # Rust's library draws random bytes from a library that wine 8 does not have.
    library=$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll
    if [ ! -e "$library" ]; then
        compiler=$(command -v x86_64-w64-mingw32-gcc) || fail "no mingw (Debian: gcc-mingw-w64-x86-64)"
        "$compiler" -shared -O2 -s -o "$library" "$here/random.c" -ladvapi32 || fail "can't build random.c"
    fi
    touch "$state/ready"
fi
exec 9>&-
exec timeout -k 5 "${RINGFENCE_WINE_TIMEOUT:-180}" "$wine" "$@"
