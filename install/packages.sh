# --- packages: what is missing, installed where the system's own tools may -------------------

install_missing() {
    [ -n "$MISSING" ] || return 0
    has apt-get || die "Missing:$MISSING. This system has no apt-get: install them, then run this again."
    ask "Install$MISSING by apt?" || die "Missing:$MISSING. Install them, then run this again."
    apt_get update
    for package in $MISSING; do
        case $package in
        nvidia-container-toolkit) install_toolkit ;;
        *)
            step "installing $package"
            apt_get install -y --no-install-recommends "$package"
            ;;
        esac
    done
    case $MISSING in
    *docker.io*) start_docker ;;
    esac
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -q "$@" </dev/null >>"$LOG" 2>&1 ||
        die "apt-get $1 failed. Its last words are in $LOG; put that right and run this again."
}

start_docker() {
    if [ -d /run/systemd/system ]; then
        systemctl enable --now docker >>"$LOG" 2>&1 || true
    elif has service; then
        service docker start >>"$LOG" 2>&1 || true
    fi
    waited=0
    until timeout 10 docker version >/dev/null 2>&1; do
        waited=$((waited + 1))
        [ "$waited" -lt 30 ] || die "Docker was installed and does not answer. Start it (systemctl start docker), then run this again."
        sleep 1
    done
}

# From NVIDIA's repository. Docker's configuration is not touched: it finds the toolkit by its
# name, once it was started anew.
install_toolkit() {
    step "adding NVIDIA's repository for its container toolkit"
    base=https://nvidia.github.io/libnvidia-container
    key=/usr/share/keyrings/nvidia-container-toolkit.asc
    list=/etc/apt/sources.list.d/nvidia-container-toolkit.list
    fetch "$base/gpgkey" "$WORK/nvidia.asc" ||
        die "$base does not answer. Let this host out to it, or install nvidia-container-toolkit yourself, then run this again."
    install -D -m 0644 "$WORK/nvidia.asc" "$key"
    # shellcheck disable=SC2016  # apt itself fills in $(ARCH)
    printf 'deb [signed-by=%s] %s/stable/deb/$(ARCH) /\n' "$key" "$base" >"$WORK/nvidia.list"
    install -D -m 0644 "$WORK/nvidia.list" "$list"
    apt_get update
    apt_get install -y --no-install-recommends nvidia-container-toolkit
    has docker || return 0
    if [ -n "$(docker ps -q 2>/dev/null)" ]; then
        step "Docker sees the GPUs after its next start; it was left alone, as containers run"
        note warn TOOLKIT "Docker was not started anew, as containers run" "systemctl restart docker"
    elif [ -d /run/systemd/system ] && ask "Start Docker anew, so that it sees the GPUs?"; then
        systemctl restart docker >>"$LOG" 2>&1 || die "Docker did not start again: see journalctl -u docker."
    fi
}
