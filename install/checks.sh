# --- checks: each says what it found, how bad that is, and what to do ------------------------

check_all() {
    : >"$FOUND"
    check_root
    check_system
    check_kernel
    check_init
    check_disk
    check_brain
    check_python
    check_gpus
    check_docker
    check_node
}

check_root() {
    if [ "$(id -u)" = 0 ]; then
        note ok ROOT "runs as root"
    elif has sudo; then
        note ok ROOT "runs as $(id -un), and sudo is here"
    else
        note fail ROOT "runs as $(id -un), without sudo" "run it as root"
    fi
}

check_system() {
    os_id=unknown os_version=''
    if [ -r /etc/os-release ]; then
        os_id=$(sed -n 's/^ID=//p' /etc/os-release | tr -d '"')
        os_version=$(sed -n 's/^VERSION_ID=//p' /etc/os-release | tr -d '"')
    fi
    case $os_id-$os_version in
    debian-12 | ubuntu-22.04 | ubuntu-24.04) note ok OS "$os_id $os_version" ;;
    debian-1[3-9] | ubuntu-2[5-9]*)
        note warn OS "$os_id $os_version is newer than what this was tried on" \
            "tried on Debian 12, Ubuntu 22.04 and 24.04; it may work"
        ;;
    *)
        note fail OS "$os_id $os_version" \
            "use Debian 12, Ubuntu 22.04 or Ubuntu 24.04; --force tries all the same"
        ;;
    esac
    machine=$(uname -m)
    case " $AGENT_PLATFORMS " in
    *"-$machine "*) note ok ARCH "$machine" ;;
    *)
        note fail ARCH "$machine; this brain's agent is made for $AGENT_PLATFORMS" \
            "ask who runs the brain for an agent of this machine (AGENT_WHEELS_DIR there)"
        ;;
    esac
}

check_kernel() {
    release=$(uname -r)
    major=${release%%.*}
    minor=${release#*.}
    minor=${minor%%[!0-9]*}
    number=$((major * 1000 + ${minor:-0}))
    if [ "$number" -lt 4018 ]; then
        note fail KERNEL "$release" "the agent needs Linux 4.18 or newer: update and boot again"
    elif [ "$number" -lt 5010 ]; then
        note warn KERNEL "$release" "5.10 or newer limits tenants better"
    else
        note ok KERNEL "$release"
    fi
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        note ok CGROUP "version 2"
    else
        note warn CGROUP "version 2 is not mounted at /sys/fs/cgroup" \
            "boot with systemd.unified_cgroup_hierarchy=1; limits are weaker without it"
    fi
}

check_init() {
    if [ -d /run/systemd/system ]; then
        note ok INIT "systemd"
    else
        note warn INIT "no systemd: the agent's own launcher keeps it running" \
            "have '$COMMAND start' run at each boot"
    fi
}

check_disk() {
    place=/var/lib
    [ -d "$place" ] || place=/
    free=$(df -Pk "$place" | awk 'NR == 2 { print int($4 / 1048576) }')
    if [ "$free" -lt 2 ]; then
        note fail DISK "$free GiB free at $place" "free at least 2 GiB; models need far more"
    elif [ "$free" -lt 50 ]; then
        note warn DISK "$free GiB free at $place" "images and models want 50 GiB and more"
    else
        note ok DISK "$free GiB free at $place"
    fi
}

check_brain() {
    if ! has curl && ! has wget && ! has python3; then
        note fail BRAIN "no curl, wget or python3 to reach it with" "apt-get install curl"
        return
    fi
    theirs=$(brain_seconds) || theirs=''
    if [ -z "$theirs" ]; then
        note fail BRAIN "$BRAIN_URL does not answer" \
            "let this host out to it (TCP, no inbound port is needed), then run this again"
        return
    fi
    note ok BRAIN "$BRAIN_URL answers"
    skew=$(($(date +%s) - theirs))
    if [ "$skew" -gt 60 ] || [ "$skew" -lt -60 ]; then
        note warn CLOCK "this clock is $skew s off the brain's" "apt-get install chrony"
    else
        note ok CLOCK "$skew s off the brain's"
    fi
}

# The first Python that the agent's file is made for; PY stays empty where there is none.
find_python() {
    PY=''
    for name in python3 python3.13 python3.12 python3.11; do
        has "$name" || continue
        tag=$("$name" -c 'import sys; print("cp%d%d" % sys.version_info[:2])' 2>/dev/null) || continue
        case " $AGENT_PLATFORMS " in
        *" $tag-$(uname -m) "*)
            PY=$("$name" -c 'import sys; print(sys.executable)')
            return 0
            ;;
        esac
    done
    return 1
}

# Which package brings one, on this system.
python_package() {
    case $os_id-$os_version in
    ubuntu-22.04) wanted=cp311 package=python3.11 ;;
    ubuntu-24.04) wanted=cp312 package=python3 ;;
    *) wanted=cp311 package=python3 ;;
    esac
    case " $AGENT_PLATFORMS " in
    *" $wanted-$(uname -m) "*) printf '%s' "$package" ;;
    esac
}

check_python() {
    if find_python; then
        note ok PYTHON "$("$PY" -V 2>&1) at $PY"
        return
    fi
    package=$(python_package)
    if [ -n "$package" ]; then
        need "$package"
        note warn PYTHON "none that the agent runs on ($AGENT_PLATFORMS)" "apt: $package"
    else
        note fail PYTHON "none here or in this system's packages runs this agent ($AGENT_PLATFORMS)" \
            "ask who runs the brain for an agent of this Python (AGENT_WHEELS_DIR there)"
    fi
}

need() {
    case " $MISSING " in
    *" $1 "*) ;;
    *) MISSING="$MISSING $1" ;;
    esac
}

nvidia_on_the_bus() {
    for device in /sys/bus/pci/devices/*; do
        [ -r "$device/vendor" ] || continue
        [ "$(cat "$device/vendor")" = 0x10de ] || continue
        case $(cat "$device/class") in
        0x03*) return 0 ;;
        esac
    done
    return 1
}

check_gpus() {
    if [ -n "${SIMULATE_GPUS:-}" ]; then
        note warn GPU "$SIMULATE_GPUS simulated" "they are marked so everywhere and earn nothing"
        return
    fi
    if ! nvidia_on_the_bus && ! has nvidia-smi; then
        note warn GPU "no NVIDIA GPU on the PCI bus" "the node would have nothing to offer"
        return
    fi
    note ok GPU "an NVIDIA GPU is here"
    driver=$(timeout 30 nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null |
        head -n 1) || driver=''
    if [ -z "$driver" ]; then
        note fail DRIVER "nvidia-smi does not answer" \
            "install NVIDIA's driver (Ubuntu: ubuntu-drivers install; Debian: apt-get install nvidia-driver), boot, and run this again"
        return
    fi
    note ok DRIVER "$driver"
    [ "${AGENT_ENGINE:-docker}" = docker ] || return 0
    if has nvidia-ctk || has nvidia-container-runtime-hook; then
        note ok TOOLKIT "NVIDIA's container toolkit is here"
    else
        need nvidia-container-toolkit
        note warn TOOLKIT "NVIDIA's container toolkit is missing" \
            "apt: nvidia-container-toolkit, from NVIDIA's own repository"
    fi
}

check_docker() {
    if [ "${AGENT_ENGINE:-docker}" != docker ]; then
        note warn DOCKER "not used: work runs as plain processes" \
            "for machines of your own; strangers' work belongs into containers"
        return
    fi
    if ! has docker && [ -z "${DOCKER_HOST:-}" ]; then
        need docker.io
        note warn DOCKER "no Docker engine" "apt: docker.io"
        return
    fi
    if ! has docker; then
        note warn DOCKER "DOCKER_HOST is set, and no docker command to look at it with"
        return
    fi
    version=$(timeout 30 docker version --format '{{.Server.Version}}' 2>/dev/null) || version=''
    case $version in
    '')
        note fail DOCKER "the engine does not answer" \
            "start it (systemctl start docker) and see that 'docker version' shows a server"
        ;;
    [0-9].* | 1[0-9].* | 20.[0-9].*)
        note warn DOCKER "version $version" "20.10 or newer is what this was tried with" ;;
    *) note ok DOCKER "version $version" ;;
    esac
}

check_node() {
    if [ -e "$STATE/identity.json" ]; then
        known=$(sed -n 's/.*"installation_id":"\([^"]*\)".*/\1/p' "$STATE/identity.json")
        if [ "$known" = "$INSTALLATION_ID" ]; then
            note ok NODE "this host is a node of this installation"
        else
            note fail NODE "this host is a node of another installation ($known)" \
                "uninstall it there first: $COMMAND is of that brain"
        fi
    else
        note ok NODE "this host is no node yet"
    fi
}
