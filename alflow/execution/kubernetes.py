"""How Kubernetes is spoken to: each block is a Job of one pod."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from alflow.core.errors import SiteError
from alflow.execution.dialects import Answer, Block
from alflow.execution.queues import Job

_LONGEST_NAME = 63
_KEPT_S = 3600
"""How long a Job that has ended stays in the cluster, so that its end can be seen [s]."""


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """A namespace of a Kubernetes cluster, through `kubectl`.

    Attributes:
        image: Container image; the same alflow, Python and Parsl as the manager's, at the
            same path.
        claims: Persistent volume claim to where it is mounted; the campaign directory must
            be inside of one, at the path that the manager uses.
        resources: What a pod is given: `cpu`, `memory`, `nvidia.com/gpu` and the like.
        namespace: Namespace; None for that of the current context.
        node_selector: Labels that nodes must have.
    """

    image: str
    claims: Mapping[str, str]
    resources: Mapping[str, str] = field(default_factory=dict)
    namespace: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)

    commands: ClassVar[tuple[str, ...]] = ("kubectl",)
    title: ClassVar[str] = "Kubernetes"

    def script(self, block: Block, name: str, log: Path, command: str) -> str:
        """The manifest of a Job; its log is that of the pod."""
        if block.nodes != 1 or block.directives:
            raise SiteError("a block of Kubernetes is one pod and has no directives")
        del log
        container = {
            "name": "workers",
            "image": self.image,
            "command": ["/bin/bash", "-c", block.shell(command)],
            "resources": {"requests": {**self.resources}, "limits": {**self.resources}},
            "volumeMounts": [
                {"name": claim, "mountPath": path} for claim, path in self.claims.items()
            ],
        }
        pod: dict[str, Any] = {
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": [
                {"name": claim, "persistentVolumeClaim": {"claimName": claim}}
                for claim in self.claims
            ],
        }
        if self.node_selector:
            pod["nodeSelector"] = {**self.node_selector}
        spec = {
            "backoffLimit": 0,
            "activeDeadlineSeconds": block.walltime_s,
            "ttlSecondsAfterFinished": _KEPT_S,
            "template": {"spec": pod},
        }
        manifest = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": _object_name(name)},
            "spec": spec,
        }
        return json.dumps(manifest, indent=2) + "\n"

    def submission(self) -> list[str]:
        """Command that takes a manifest."""
        return [*self._kubectl(), "create", "-f", "-", "-o", "name"]

    def job_id(self, printed: str) -> str | None:
        """Name of the Job."""
        found = re.search(r"^job\.batch/(\S+)$", printed, re.MULTILINE)
        return found and found[1]

    def question(self, job_ids: Sequence[str]) -> list[str]:
        """Command that asks."""
        return [
            *self._kubectl(),
            "get",
            "jobs",
            "--ignore-not-found",
            "-o",
            "json",
            *job_ids,
        ]

    def reports(self, answer: Answer) -> dict[str, Job] | None:
        """States of jobs."""
        if answer.code != 0:
            return None
        try:
            found = json.loads(answer.out or "{}")
            # One that is asked for alone is not in a list.
            jobs = found.get("items", [found] if "metadata" in found else [])
            return {job["metadata"]["name"]: _report(job.get("status", {})) for job in jobs}
        except (ValueError, AttributeError, KeyError, TypeError):
            return None

    def cancellation(self, job_ids: Sequence[str]) -> list[str]:
        """Command that ends jobs."""
        options = ("--ignore-not-found", "--wait=false")
        return [*self._kubectl(), "delete", "jobs", *options, *job_ids]

    def search(self, name: str) -> list[str]:
        """Command that looks for a name."""
        options = ("--ignore-not-found", "-o", "name")
        return [*self._kubectl(), "get", "jobs", *options, _object_name(name)]

    def _kubectl(self) -> list[str]:
        return ["kubectl", *(("-n", self.namespace) if self.namespace else ())]


def _object_name(name: str) -> str:
    """The name of a block as Kubernetes allows it; its end is what makes it unique."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[-_LONGEST_NAME:].strip("-")


def _report(status: Mapping[str, Any]) -> Job:
    for condition in status.get("conditions") or ():
        ending = _ENDINGS.get(condition["type"])
        if ending is not None and condition["status"] == "True":
            reason = condition.get("reason", "")
            if reason == "DeadlineExceeded":
                ending = "TIMEOUT"
            told = (reason, condition.get("message", ""))
            return Job(ending, ": ".join(filter(None, told)))
    state = "RUNNING" if status.get("ready") else "PENDING"
    return Job(state)


_ENDINGS = {"Complete": "COMPLETED", "Failed": "FAILED"}
