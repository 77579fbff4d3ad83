"""Decisions, pure. Layer 2."""

from relayq.policy.routing import Candidate, RoutingRules, Target, TargetKind, choose_target, smarthost_target

__all__ = ["Candidate", "RoutingRules", "Target", "TargetKind", "choose_target", "smarthost_target"]
