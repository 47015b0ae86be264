"""The GraphQL operations; values travel as variables and never inside the text."""

from __future__ import annotations

from gql import GraphQLRequest, gql

GPU_TYPES = gql(
    """
    query GpuTypes($lowest: GpuLowestPriceInput!) {
      gpuTypes {
        id
        displayName
        memoryInGb
        securePrice
        communityPrice
        lowestPrice(input: $lowest) {
          uninterruptablePrice
          stockStatus
        }
      }
    }
    """
)
DEPLOY = gql(
    """
    mutation Deploy($input: PodFindAndDeployOnDemandInput!) {
      podFindAndDeployOnDemand(input: $input) {
        id
        imageName
        machineId
        machine {
          podHostId
        }
      }
    }
    """
)
PODS = gql(
    """
    query Pods {
      myself {
        pods {
          id
          name
          desiredStatus
          costPerHr
          containerDiskInGb
          gpuCount
          machineId
          runtime {
            ports {
              privatePort
            }
          }
          machine {
            gpuDisplayName
          }
        }
      }
    }
    """
)
POD = gql(
    """
    query Pod($input: PodFilter) {
      pod(input: $input) {
        id
        name
        desiredStatus
        costPerHr
        containerDiskInGb
        gpuCount
        machineId
        runtime {
          ports {
            ip
            privatePort
            publicPort
            type
          }
        }
        machine {
          gpuDisplayName
          podHostId
        }
      }
    }
    """
)
STOP = gql("mutation Stop($input: PodStopInput!) { podStop(input: $input) { id desiredStatus } }")
RESUME = gql(
    "mutation Resume($input: PodResumeInput!) { podResume(input: $input) { id desiredStatus } }"
)
TERMINATE = gql("mutation Terminate($input: PodTerminateInput!) { podTerminate(input: $input) }")
BALANCE = gql("query Balance { myself { clientBalance } }")
VOLUMES = gql("query Volumes { myself { networkVolumes { id name size dataCenterId } } }")
MAKE_VOLUME = gql(
    """
    mutation MakeVolume($input: CreateNetworkVolumeInput!) {
      createNetworkVolume(input: $input) {
        id
        name
        size
        dataCenterId
      }
    }
    """
)
REMOVE_VOLUME = gql(
    "mutation RemoveVolume($input: DeleteNetworkVolumeInput!)"
    " { deleteNetworkVolume(input: $input) }"
)


def payload(operation: GraphQLRequest, variables: dict[str, object] | None) -> dict[str, object]:
    """What is posted."""
    return GraphQLRequest(operation.document, variable_values=variables).payload
