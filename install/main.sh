# --- uninstall: work first, then the brain, then the files -----------------------------------

uninstall() {
    if ! is_installed && [ ! -d "$STATE" ]; then
        say "Nothing is installed here."
        return 0
    fi
    find_python || die "The Python that the agent ran on is gone. Install it again, then run this again."
    ask "End this node's work, revoke the node at the brain and remove the agent with all its data?" ||
        die "Nothing was changed."
    if [ -d /run/systemd/system ] && [ -f "$UNIT" ]; then
        step "stopping the agent"
        systemctl disable --now ganglion-agent >>"$LOG" 2>&1 || true
    elif [ -x "$COMMAND" ]; then
        step "stopping the agent"
        "$COMMAND" stop || die "The agent does not stop; end its process, then run this again."
    fi
    leave_brain
    drop_firewall
    step "removing files"
    unmount_volumes
    rm -f "$UNIT" "$COMMAND"
    [ ! -d /run/systemd/system ] || systemctl daemon-reload
    rm -rf "$PREFIX" "$STATE" "$AGENT_LOG" "$AGENT_LOG.1" "$LOG"
    say "The agent is gone. Packages that were installed for it (Python, Docker, NVIDIA's toolkit) stay."
}

# Volumes of a size are file systems of their own below the agent's folder.
unmount_volumes() {
    awk -v below="$STATE/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r |
        while read -r place; do
            umount "$place" || die "$place is still in use. End what uses it, then run this again."
        done || exit 1
}

# The chain that keeps tenants from this host's network (node_agent/firewall.py). It stays while a
# tenant's bridge is there, as after --force with work that could not be ended.
drop_firewall() {
    for bridge in /sys/class/net/gan-*; do
        [ ! -e "$bridge" ] || {
            say "The firewall's chain GANGLION stays: ${bridge##*/} is still a tenant's network."
            return 0
        }
    done
    for tool in iptables ip6tables; do
        if has "$tool" && "$tool" -w 5 -t mangle -S GANGLION >/dev/null 2>&1; then
            "$tool" -w 5 -t mangle -D PREROUTING -i gan-+ -j GANGLION >>"$LOG" 2>&1 || true
            { "$tool" -w 5 -t mangle -F GANGLION && "$tool" -w 5 -t mangle -X GANGLION; } >>"$LOG" 2>&1 ||
                say "A rule of yours leads to the chain GANGLION, so it stays. Look: $tool -t mangle -S"
        fi
    done
}

leave_brain() {
    is_installed && [ -e "$STATE/identity.json" ] || return 0
    step "ending work and telling the brain"
    code=0
    agent_does "$(current_version)" --leave >"$WORK/left" 2>"$WORK/said" || code=$?
    case $code in
    0) return 0 ;;
    4) say "The brain was not told ($(tail -n 1 "$WORK/said")): revoke the node there: ganglion provider revoke." ;;
    *)
        [ -n "$FORCE" ] && return 0
        "$COMMAND" start >/dev/null 2>&1 || true
        die "Work could not be ended: $(tail -n 1 "$WORK/said") Put that right and run this again, or add --force to remove the agent all the same."
        ;;
    esac
}

# --- the order of things ----------------------------------------------------------------------

clean() {
    code=$?
    [ -z "$WORK" ] || rm -rf "$WORK"
    # Where nothing was before, a failed installation leaves nothing.
    if [ "$code" != 0 ] && [ -n "$FRESH" ] && ! is_installed && [ ! -e "$STATE/identity.json" ]; then
        rm -rf "$PREFIX" "$STATE" "$COMMAND" "$UNIT"
    fi
    exit "$code"
}

# The same script as root; the token goes by a file that only its owner can read.
as_root() {
    fetch "$BRAIN_URL/install" "$WORK/install.sh" || die "$BRAIN_URL/install does not answer."
    if [ -n "${JOIN_TOKEN:-}" ]; then
        printf '%s' "$JOIN_TOKEN" >"$WORK/token"
        set -- "$@" --token-file "$WORK/token"
    fi
    code=0
    sudo sh "$WORK/install.sh" "$@" || code=$?
    exit "$code"
}

install_all() {
    install_missing
    if [ -z "$PY" ]; then
        find_python || die "Python was installed and is not what the agent runs on ($AGENT_PLATFORMS)."
    fi
    fetch_agent
    write_settings
    enrol
    lay_launcher
    take_up
    start_agent
    await_brain
    if [ -n "$CHANGED" ]; then
        say "This host is a node and the brain hears it. Look: ganglion-agent status. Log: $(where_logs)"
    else
        say "This host is a node, up to date and running: nothing was changed."
    fi
}

main() {
    read_options "$@"
    WORK=$(mktemp -d)
    trap clean EXIT
    trap 'exit 130' INT TERM
    FOUND=$WORK/found
    : >"$FOUND"
    [ -z "$TOKEN_FILE" ] || JOIN_TOKEN=$(cat "$TOKEN_FILE")
    keep_settings
    if [ -n "$CHECK_ONLY" ]; then
        check_all
        if [ -n "$JSON" ]; then show_json; else show_table; fi
        ! grep -q '^fail' "$FOUND" || exit 1
        exit 0
    fi
    [ "$(id -u)" = 0 ] || { has sudo && as_root "$@"; } || die "Run this as root."
    is_installed || FRESH=1
    : >>"$LOG"
    if [ -n "$UNINSTALL" ]; then
        uninstall
        exit 0
    fi
    check_all
    [ -n "$JSON" ] || show_table
    if grep -q '^fail' "$FOUND" && [ -z "$FORCE" ]; then
        say ""
        die "$(grep -c '^fail' "$FOUND") check(s) failed; do what stands after -> and run this again."
    fi
    install_all
    [ -z "$JSON" ] || show_json
}

main "$@"
