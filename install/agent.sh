# --- the agent: fetched, proved, enrolled, kept running --------------------------------------

is_installed() { [ -L "$PREFIX/current" ]; }

current_version() { basename "$(readlink "$PREFIX/current" 2>/dev/null || printf none)"; }

fetch_agent() {
    if [ -d "$PREFIX/versions/$AGENT_SHA256/lib" ]; then
        return 0
    fi
    step "fetching the agent ($AGENT_VERSION)"
    fetch "$BRAIN_URL/agent/file" "$WORK/agent.pyz" ||
        die "The agent could not be fetched from $BRAIN_URL/agent/file. Run this again."
    got=$(sha256sum "$WORK/agent.pyz")
    [ "${got%% *}" = "$AGENT_SHA256" ] ||
        die "The agent that came is not the one that this script names (SHA-256 differs). Fetch the script anew and run it; if it stays so, ask who runs the brain."
    mkdir -p "$PREFIX"
    "$PY" -I "$WORK/agent.pyz" unpack "$PREFIX" "$AGENT_SHA256" >>"$LOG" 2>"$WORK/said" ||
        die "The agent could not be unpacked: $(tail -n 1 "$WORK/said")"
    CHANGED=1
}

# put FILE MODE: standard input becomes the file, in one step, if it differs.
put() {
    cat >"$WORK/put"
    if [ -f "$1" ] && cmp -s "$WORK/put" "$1"; then
        return 0
    fi
    mkdir -p "$(dirname "$1")"
    install -m "$2" "$WORK/put" "$1.new"
    mv -f "$1.new" "$1"
    CHANGED=1
}

# What was chosen before holds where nothing else is given now.
keep_settings() {
    [ -f "$PREFIX/agent.env" ] || return 0
    for name in $SETTINGS; do
        eval "given=\${$name:-}"
        kept=$(sed -n "s/^$name=//p" "$PREFIX/agent.env")
        [ -n "$given" ] || [ -z "$kept" ] || eval "$name=\$kept"
    done
}

write_settings() {
    {
        printf 'BRAIN_URL=%s\nAGENT_HOME=%s\n' "$BRAIN_URL" "$STATE"
        for name in $SETTINGS; do
            eval "given=\${$name:-}"
            [ -z "$given" ] || printf '%s=%s\n' "$name" "$given"
        done
        [ -d /run/systemd/system ] || printf 'AGENT_LOG=%s\n' "$AGENT_LOG"
    } >"$WORK/settings"
    put "$PREFIX/agent.env" 0600 <"$WORK/settings"
}

# Runs the agent's program of this script's version for one chore.
agent_does() {
    (
        while IFS='=' read -r name value; do
            [ -z "$name" ] || export "$name=$value"
        done <"$PREFIX/agent.env"
        PYTHONPATH="$PREFIX/versions/$1/lib" exec "$PY" -s -P -m node_agent.main "$2" </dev/null
    )
}

enrol() {
    if [ -e "$STATE/identity.json" ]; then
        return 0
    fi
    [ -n "${JOIN_TOKEN:-}" ] ||
        die "This host is no node yet. Make a join token (ganglion provider join) and run the command that it shows; it holds the token in JOIN_TOKEN."
    step "enrolling this host"
    export JOIN_TOKEN
    agent_does "$AGENT_SHA256" --enrol >"$WORK/node" 2>"$WORK/said" ||
        die "$(tail -n 1 "$WORK/said")"
    unset JOIN_TOKEN
    CHANGED=1
}

lay_launcher() {
    from=$PREFIX/versions/$AGENT_SHA256/lib/node_agent
    for file in __init__.py versions.py launcher.py; do
        put "$PREFIX/launcher/node_agent/$file" 0644 <"$from/$file"
    done
    put "$COMMAND" 0755 <<TEXT
#!/bin/sh
# The agent of $BRAIN_URL: start, stop, status, or an option of its program.
if [ -d /run/systemd/system ] && [ -f $UNIT ]; then
    case \${1:-} in
    start | stop) exec systemctl "\$1" ganglion-agent ;;
    esac
fi
PYTHONPATH=$PREFIX/launcher exec $PY -s -P -m node_agent.launcher "\$@"
TEXT
    [ -d /run/systemd/system ] || return 0
    unit_text >"$WORK/unit"
    put "$UNIT" 0644 <"$WORK/unit"
}

# No private mounts: the agent mounts volumes where Docker must see them.
unit_text() {
    cat <<TEXT
[Unit]
Description=Ganglion node agent of $BRAIN_URL
After=network-online.target docker.service
Wants=network-online.target

[Service]
ExecStart=$PY -s -P -m node_agent.launcher run
ExecReload=/bin/kill -HUP \$MAINPID
Environment=PYTHONPATH=$PREFIX/launcher
Restart=always
RestartSec=5
# Work outlives the agent: it is found again by the next one.
KillMode=process
TimeoutStopSec=90
OOMScoreAdjust=-500
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
CapabilityBoundingSet=~CAP_SYS_MODULE CAP_SYS_BOOT CAP_SYS_TIME CAP_SYS_RAWIO CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_BPF

[Install]
WantedBy=multi-user.target
TEXT
}

# Takes this version up: at once where none was, else on trial by the launcher.
take_up() {
    [ "$(current_version)" != "$AGENT_SHA256" ] || return 0
    rm -f "$PREFIX/bad.json"
    if is_installed; then
        printf '%s' "$AGENT_SHA256" | put "$PREFIX/next" 0600
    else
        ln -s "versions/$AGENT_SHA256" "$PREFIX/.current"
        mv -T "$PREFIX/.current" "$PREFIX/current"
    fi
    CHANGED=1
}

is_running() { "$COMMAND" status >"$WORK/status" 2>/dev/null; }

start_agent() {
    if [ -d /run/systemd/system ]; then
        [ -z "$CHANGED" ] || systemctl daemon-reload
        systemctl enable ganglion-agent >>"$LOG" 2>&1 || die "systemctl enable failed: see $LOG."
    fi
    if [ -n "$CHANGED" ] && is_running; then
        step "starting the agent anew; its work goes on"
        "$COMMAND" stop || die "The running agent does not stop: see 'ganglion-agent status'."
    fi
    if ! is_running; then
        step "starting the agent"
        CHANGED=1
        touch "$WORK/began"
        "$COMMAND" start || die "The agent does not start: see $(where_logs)."
    fi
}

where_logs() {
    if [ -d /run/systemd/system ]; then
        printf 'journalctl -u ganglion-agent'
    else
        printf '%s' "$AGENT_LOG"
    fi
}

# The brain answered a beat since we began.
await_brain() {
    [ -e "$WORK/began" ] || return 0
    waited=0
    until [ -n "$(find "$STATE/heard" -newer "$WORK/began" 2>/dev/null)" ]; do
        waited=$((waited + 1))
        [ "$waited" -lt 90 ] ||
            die "The agent runs, and the brain has not answered it within 90 s: see $(where_logs)."
        sleep 1
    done
}
