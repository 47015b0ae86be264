#!/bin/sh
# Makes this host a node of the brain named below, or takes it off again. May be run again: it
# repairs and updates, and keeps who the node is. Everything is in functions that the last line
# calls, so that a script cut short on its way does nothing.
set -eu
umask 077

BRAIN_URL=@@BRAIN_URL@@
INSTALLATION_ID=@@INSTALLATION_ID@@
AGENT_SHA256=@@AGENT_SHA256@@
AGENT_VERSION=@@AGENT_VERSION@@
AGENT_PLATFORMS=@@AGENT_PLATFORMS@@

PREFIX=/opt/ganglion-agent
STATE=/var/lib/ganglion-agent
UNIT=/etc/systemd/system/ganglion-agent.service
COMMAND=/usr/local/bin/ganglion-agent
LOG=/var/log/ganglion-agent-install.log
AGENT_LOG=/var/log/ganglion-agent.log

# Settings of the agent that are taken from the environment and kept.
SETTINGS="AGENT_ENGINE AGENT_NAME SIMULATE_GPUS DOCKER_HOST DOCKER_RUNTIME DOCKER_ROOT
AGENT_VLLM AGENT_MODELS_DIR AGENT_KEY_DAYS AGENT_TRIAL_SECONDS NVML_SECONDS_MAX LD_LIBRARY_PATH"

CHECK_ONLY='' JSON='' YES='' UNINSTALL='' FORCE='' TOKEN_FILE='' WORK='' FRESH=''
PY='' FOUND='' MISSING='' CHANGED=''

usage() {
    cat <<'TEXT'
Use: sh install [options], with JOIN_TOKEN in the environment the first time.
  --check          look at this host and change nothing
  --json           print what was found as JSON
  --yes            install what is missing without asking
  --uninstall      end the node's work, tell the brain, remove everything
  --force          go on where a check failed, or where the brain cannot be told
  --name NAME      what the node is called (default: the host's name)
  --engine NAME    docker (default), or process: for machines of one's own
  --simulate-gpus N  offer GPUs that do not exist, and say so: to try things out
  --token-file FILE  read the join token from a file
Settings of the agent (AGENT_NAME, DOCKER_HOST, DOCKER_RUNTIME, AGENT_VLLM, AGENT_MODELS_DIR)
are taken from the environment and kept.
TEXT
}

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
        --check) CHECK_ONLY=1 ;;
        --json) JSON=1 ;;
        --yes | -y) YES=1 ;;
        --uninstall) UNINSTALL=1 ;;
        --force) FORCE=1 ;;
        --help | -h) usage && exit 0 ;;
        --name | --engine | --simulate-gpus | --token-file)
            [ $# -ge 2 ] || wrong_use "$1 needs a value."
            # shellcheck disable=SC2034  # they are read by their names
            case $1 in
            --name) AGENT_NAME=$2 ;;
            --engine) AGENT_ENGINE=$2 ;;
            --simulate-gpus) SIMULATE_GPUS=$2 ;;
            --token-file) TOKEN_FILE=$2 ;;
            esac
            shift
            ;;
        *) wrong_use "$1 is not an option." ;;
        esac
        shift
    done
    case ${AGENT_ENGINE:-docker} in
    docker | process) ;;
    *) wrong_use "--engine is docker or process." ;;
    esac
}

wrong_use() {
    printf '%s\n\n' "$1" >&2
    usage >&2
    exit 2
}
