"""Pods: any image in a container on a GPU, with ports, a shell and volumes that outlive it.

The door. A pod runs as a deployment of one worker with a launch of its own; what is its own here
is its name, what opens it, and what it keeps. Locks: pod, deployment, volume, lease, node, money.
"""

from brain.pods.beats import VolumeWatch
from brain.pods.claims import PodClaims
from brain.pods.names import names_of_pods, pod_names, volume_names
from brain.pods.reconcile import reconcile_pods
from brain.pods.rows import all_pod_rows, pod_row
from brain.pods.views import Front

__all__ = [
    "Front",
    "PodClaims",
    "VolumeWatch",
    "all_pod_rows",
    "names_of_pods",
    "pod_names",
    "pod_row",
    "reconcile_pods",
    "volume_names",
]
