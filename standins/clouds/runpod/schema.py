"""The GraphQL schema of the RunPod stand-in: the part of RunPod's that clients of pods use."""

from __future__ import annotations

SCHEMA = """
enum CloudTypeEnum { ALL SECURE COMMUNITY }
scalar Void
scalar DateTime

input EnvironmentVariableInput { key: String! value: String! }
input GpuTypeFilter { id: String ids: [String] }
input GpuLowestPriceInput {
  gpuCount: Int! secureCloud: Boolean dataCenterId: String countryCode: String minDisk: Int
  minMemoryInGb: Int minVcpuCount: Int minCudaVersion: String minDownload: Int minUpload: Int
  totalDisk: Int supportPublicIp: Boolean compliance: [String] allowedCudaVersions: [String]
  cudaVersion: String includeAws: Boolean globalNetwork: Boolean
}
input GpuAvailabilityInput {
  gpuCount: Int minDisk: Int minMemoryInGb: Int minVcpuCount: Int secureCloud: Boolean
  allowedCudaVersions: [String] includeAws: Boolean
}
input PodFilter { podId: String }
input PodFindAndDeployOnDemandInput {
  name: String imageName: String cloudType: CloudTypeEnum startSsh: Boolean startJupyter: Boolean
  gpuTypeId: String gpuTypeIdList: [String] supportPublicIp: Boolean gpuCount: Int volumeInGb: Int
  minVcpuCount: Int minMemoryInGb: Int dataCenterId: String dockerArgs: String countryCode: String
  containerDiskInGb: Int ports: String volumeMountPath: String env: [EnvironmentVariableInput]
  templateId: String networkVolumeId: String allowedCudaVersions: [String] minCudaVersion: String
  cudaVersion: String minDownload: Int minUpload: Int minDisk: Int containerRegistryAuthId: String
  volumeKey: String stopAfter: DateTime terminateAfter: DateTime globalNetwork: Boolean
  compliance: [String] deployCost: Float
}
input PodRentInterruptableInput {
  bidPerGpu: Float!
  name: String imageName: String cloudType: CloudTypeEnum startSsh: Boolean startJupyter: Boolean
  gpuTypeId: String supportPublicIp: Boolean gpuCount: Int volumeInGb: Int
  minVcpuCount: Int minMemoryInGb: Int dataCenterId: String dockerArgs: String countryCode: String
  containerDiskInGb: Int ports: String volumeMountPath: String env: [EnvironmentVariableInput]
  templateId: String networkVolumeId: String allowedCudaVersions: [String] minCudaVersion: String
  cudaVersion: String minDownload: Int minUpload: Int minDisk: Int containerRegistryAuthId: String
  volumeKey: String stopAfter: DateTime terminateAfter: DateTime globalNetwork: Boolean
}
input deployCpuPodInput {
  instanceId: String name: String imageName: String cloudType: CloudTypeEnum startSsh: Boolean
  startJupyter: Boolean dataCenterId: String dockerArgs: String countryCode: String
  containerDiskInGb: Int ports: String volumeMountPath: String env: [EnvironmentVariableInput]
  templateId: String networkVolumeId: String containerRegistryAuthId: String deployCost: Float
  minDownload: Int minUpload: Int volumeInGb: Int
}
input PodStopInput { podId: String! incrementVersion: Boolean }
input PodResumeInput { podId: String! gpuCount: Int syncMachine: Boolean }
input PodBidResumeInput { podId: String! bidPerGpu: Float! gpuCount: Int! }
input PodTerminateInput { podId: String! }
input UpdateUserSettingsInput { pubKey: String }
input CreateNetworkVolumeInput { name: String! size: Int! dataCenterId: String! }
input DeleteNetworkVolumeInput { id: String! }

type LowestPrice {
  gpuName: String gpuTypeId: String minimumBidPrice: Float uninterruptablePrice: Float
  minMemory: Int minVcpu: Int stockStatus: String availableGpuCounts: [Int]
  compliance: [String] countryCode: String rentalPercentage: Float
}
type GpuType {
  id: String displayName: String manufacturer: String memoryInGb: Int cudaCores: Int
  secureCloud: Boolean communityCloud: Boolean securePrice: Float communityPrice: Float
  oneMonthPrice: Float threeMonthPrice: Float sixMonthPrice: Float oneWeekPrice: Float
  communitySpotPrice: Float secureSpotPrice: Float maxGpuCount: Int
  maxGpuCountCommunityCloud: Int maxGpuCountSecureCloud: Int minPodGpuCount: Int
  lowestPrice(input: GpuLowestPriceInput): LowestPrice
}
type GpuAvailability {
  id: String gpuTypeId: String displayName: String gpuTypeDisplayName: String
  stockStatus: String available: Boolean
}
type DataCenter {
  id: String name: String location: String region: String listed: Boolean storageSupport: Boolean
  globalNetwork: Boolean compliance: [String]
  gpuAvailability(input: GpuAvailabilityInput): [GpuAvailability]
}
type PodRuntimePort {
  ip: String isIpPublic: Boolean privatePort: Int publicPort: Int type: String
}
type PodRuntimeGpu { id: String gpuUtilPercent: Int memoryUtilPercent: Int }
type PodRuntimeContainer { cpuPercent: Int memoryPercent: Int }
type PodRuntime {
  uptimeInSeconds: Int ports: [PodRuntimePort] gpus: [PodRuntimeGpu]
  container: PodRuntimeContainer
}
type PodMachineInfo {
  podHostId: String gpuDisplayName: String gpuTypeId: String location: String dataCenterId: String
  secureCloud: Boolean costPerHr: Float
}
type Pod {
  id: String! name: String imageName: String env: [String] machineId: String
  machine: PodMachineInfo containerDiskInGb: Int costPerHr: Float adjustedCostPerHr: Float
  desiredStatus: String! dockerArgs: String dockerId: String gpuCount: Int lastStatusChange: String
  memoryInGb: Float podType: String port: Int ports: String uptimeSeconds: Int vcpuCount: Float
  volumeInGb: Float volumeMountPath: String runtime: PodRuntime createdAt: DateTime
  lastStartedAt: DateTime locked: Boolean templateId: String networkVolumeId: String
}
type NetworkVolume { id: String name: String size: Int dataCenterId: String }
type User {
  id: String email: String pubKey: String authId: String networkVolumes: [NetworkVolume]
  pods: [Pod] pod(id: String): Pod clientBalance: Float currentSpendPerHr: Float spendLimit: Int
  creditBalance: Float hostBalance: Float machineQuota: Int underBalance: Boolean
  containerRegistryCreds: [ContainerRegistryAuth] podTemplates: [PodTemplate]
  endpoints: [Endpoint]
}
type ContainerRegistryAuth { id: String name: String }
type PodTemplate { id: String name: String imageName: String }
type Endpoint { id: String name: String }

type Query {
  gpuTypes(input: GpuTypeFilter): [GpuType]
  dataCenters: [DataCenter]
  myself: User
  pod(input: PodFilter): Pod
}
type Mutation {
  podFindAndDeployOnDemand(input: PodFindAndDeployOnDemandInput): Pod
  podRentInterruptable(input: PodRentInterruptableInput!): Pod
  deployCpuPod(input: deployCpuPodInput!): Pod
  podStop(input: PodStopInput!): Pod
  podResume(input: PodResumeInput!): Pod
  podBidResume(input: PodBidResumeInput!): Pod
  podTerminate(input: PodTerminateInput!): Void
  updateUserSettings(input: UpdateUserSettingsInput): User
  createNetworkVolume(input: CreateNetworkVolumeInput!): NetworkVolume
  deleteNetworkVolume(input: DeleteNetworkVolumeInput!): Void
}
"""
