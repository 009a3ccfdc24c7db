"""Provider metadata: what Airflow shows and loads for ``airflow-provider-tomas``.

Airflow calls :func:`get_provider_info` while it imports itself, so this module imports nothing.
"""

from __future__ import annotations

from typing import Any

__all__ = ["get_provider_info"]


def get_provider_info() -> dict[str, Any]:
    """The provider's description in the form that Airflow's providers manager validates."""
    return {
        "package-name": "airflow-provider-tomas",
        "name": "TOMAS",
        "description": "Resource-aware plans: a task in plain language becomes sized, proven, routed tool tasks.",
        "integrations": [
            {
                "integration-name": "TOMAS",
                "external-doc-url": "https://airflow.apache.org/docs/apache-airflow-providers/",
                "tags": ["software"],
            }
        ],
        "operators": [
            {
                "integration-name": "TOMAS",
                "python-modules": [
                    "tomas.airflow.operators.plan",
                    "tomas.airflow.operators.tool",
                    "tomas.airflow.operators.results",
                ],
            }
        ],
        "hooks": [{"integration-name": "TOMAS", "python-modules": ["tomas.airflow.hook"]}],
        "triggers": [{"integration-name": "TOMAS", "python-modules": ["tomas.airflow.trigger"]}],
        "connection-types": [
            {
                "hook-class-name": "tomas.airflow.hook.TomasHook",
                "hook-name": "TOMAS store",
                "connection-type": "tomas",
                "conn-fields": {
                    "sslmode": {
                        "label": "SSL mode",
                        "description": "libpq's sslmode; empty takes libpq's default.",
                        "schema": {
                            "type": ["string", "null"],
                            "enum": [None, "disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
                        },
                    },
                    "statement_timeout_ms": {
                        "label": "Statement timeout, ms",
                        "description": "A slower statement fails as 'store unavailable'.",
                        "schema": {"type": ["integer", "null"], "minimum": 1},
                    },
                },
                "ui-field-behaviour": {
                    "hidden-fields": [],
                    "relabeling": {"schema": "Database", "host": "Postgres host"},
                    "placeholders": {"host": "localhost", "port": "5432", "schema": "tomas", "login": "tomas"},
                },
            }
        ],
        "extra-links": ["tomas.airflow.links.PlanLink"],
    }
