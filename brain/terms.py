"""What the settings say to each room, in the room's own words. Wiring hands it over."""

from __future__ import annotations

import hashlib
import hmac

from brain import billing, pods, provisioning, trust
from brain.edge.limits import Rate, Rates
from brain.plumbing.sealing import Sealer
from brain.secrets import Vault
from brain.settings import Settings
from brain.sources import Limits as GatewayLimits


def rates(settings: Settings) -> Rates:
    """How often the management API may be called."""
    return Rates(
        auth=Rate(settings.auth_requests_per_second, 1),
        api=Rate(settings.api_requests_per_second, 1),
        key=Rate(settings.api_rate_limit, 60),
    )


def gateway_limits(settings: Settings) -> GatewayLimits:
    """What keys and accounts may ask of all gateways together."""
    return GatewayLimits(
        key_requests_per_minute=settings.api_rate_limit,
        requests_per_minute=settings.account_requests_per_minute,
        tokens_per_minute=settings.account_tokens_per_minute,
        requests_at_once=settings.account_requests_at_once,
    )


def trust_terms(settings: Settings) -> trust.TrustTerms:
    """What this installation asks of nodes."""
    return trust.TrustTerms(
        notice_seconds=settings.maintenance_notice_seconds,
        shadow_days_min=settings.check_shadow_days,
        check_seconds=settings.check_seconds,
        check_image=settings.check_image,
    )


def pod_front(settings: Settings) -> pods.Front:
    """Where people reach pods, as they are told."""
    host = settings.pod_domain.lower().strip(".")
    return pods.Front(
        url=settings.public_pods_url or f"http://{host}:{settings.pod_front_port}",
        ssh=settings.public_ssh or f"{host}:{settings.ssh_port}",
    )


def rent_terms(settings: Settings) -> provisioning.Terms:
    """What rented machines are called and told."""
    master_key = bytes.fromhex(settings.master_key.get_secret_value())
    return provisioning.Terms(
        installation_id=settings.installation_id,
        brain_url=settings.public_brain_url,
        code_sha256=provisioning.agent_code().sha256,
        secret=hmac.new(master_key, b"join tokens of rented machines", hashlib.sha256).digest(),
        boot_image=settings.cloud_boot_image,
    )


def vault_of(settings: Settings) -> Vault:
    """What seals and opens accounts' secrets in this process."""
    return Vault(Sealer(bytes.fromhex(settings.master_key.get_secret_value())))


def meter_policy(settings: Settings) -> billing.MeterPolicy:
    """The meter's figures of this installation."""
    return billing.MeterPolicy(
        window_seconds=settings.meter_window_seconds,
        close_seconds_max=settings.meter_window_close_seconds_max,
        installation_id=settings.installation_id,
        usage_days=settings.usage_days,
    )
