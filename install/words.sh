# --- words: what a person reads, and what is asked ------------------------------------------

say() { [ -n "$JSON" ] || printf '%s\n' "$*"; }

step() { [ -n "$JSON" ] || printf -- '- %s\n' "$*"; }

# One clear sentence with the next step; whatever was begun is undone by the trap.
die() {
    if [ -n "$JSON" ]; then
        printf '{"ok": false, "error": %s}\n' "$(quoted "$*")"
    else
        printf '\nNot done: %s\n' "$*" >&2
    fi
    exit 1
}

ask() {
    [ -z "$YES" ] || return 0
    if [ -n "$JSON" ] || ! (: </dev/tty) 2>/dev/null; then
        die "$1 Nobody is here to answer: run it again with --yes (sh -s -- --yes after the |)."
    fi
    printf '%s [y/N] ' "$1" >/dev/tty
    read -r answer </dev/tty || answer=''
    case $answer in
    y | Y | yes | Yes) return 0 ;;
    *) return 1 ;;
    esac
}

quoted() {
    printf '"%s"' "$(printf '%s' "$1" | tr '\n\t' '  ' | sed 's/\\/\\\\/g; s/"/\\"/g')"
}

# note SEVERITY CODE WHAT [REMEDY]: ok, warn or fail.
note() {
    printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "${4:-}" >>"$FOUND"
}

show_table() {
    tab=$(printf '\t')
    printf '%-5s %-9s %s\n' '' check found
    while IFS=$tab read -r severity code what remedy; do
        printf '%-5s %-9s %s\n' "$severity" "$code" "$what"
        [ -z "$remedy" ] || printf '%-15s -> %s\n' '' "$remedy"
    done <"$FOUND"
}

show_json() {
    tab=$(printf '\t')
    worst=true
    ! grep -q '^fail' "$FOUND" || worst=false
    printf '{"ok": %s, "brain_url": %s, "agent_version": %s, "checks": [' \
        "$worst" "$(quoted "$BRAIN_URL")" "$(quoted "$AGENT_VERSION")"
    comma=''
    while IFS=$tab read -r severity code what remedy; do
        printf '%s\n  {"severity": "%s", "code": "%s", "found": %s, "remedy": %s}' \
            "$comma" "$severity" "$code" "$(quoted "$what")" "$(quoted "$remedy")"
        comma=,
    done <"$FOUND"
    printf '\n]}\n'
}

# --- the brain over HTTP, with whatever this host has ----------------------------------------

has() { command -v "$1" >/dev/null 2>&1; }

# fetch URL FILE
fetch() {
    if has curl; then
        curl -fsSL --max-time 300 -o "$2" "$1"
    elif has wget; then
        wget -q -T 60 -O "$2" "$1"
    elif has python3; then
        python3 - "$1" "$2" <<'PYTHON'
import shutil, sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=60) as answer, open(sys.argv[2], "wb") as file:
    shutil.copyfileobj(answer, file)
PYTHON
    else
        return 1
    fi
}

# The brain's own time in seconds; nothing where it does not answer.
brain_seconds() {
    if has curl; then
        told=$(curl -fsS --max-time 20 -o /dev/null -D - "$BRAIN_URL/health/live")
    elif has wget; then
        told=$(wget -q -T 20 -S -O /dev/null "$BRAIN_URL/health/live" 2>&1)
    elif has python3; then
        told=$(python3 -c 'import sys, urllib.request as u
print(u.urlopen(sys.argv[1], timeout=20).headers)' "$BRAIN_URL/health/live")
    fi 2>/dev/null || return 1
    told=$(printf '%s\n' "$told" | tr -d '\r' | sed -n 's/^ *[Dd]ate: *//p' | tail -n 1)
    [ -n "$told" ] && date -d "$told" +%s 2>/dev/null
}
