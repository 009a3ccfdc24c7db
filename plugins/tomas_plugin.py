"""Makes TOMAS's pages known where its package is importable but not installed.

Airflow refuses two plugins of one name, so this file yields to the package's own entry point. It brings the pages
alone: the routing policy needs the installed package.
"""

from importlib.metadata import entry_points

if not any(point.name == "tomas" for point in entry_points(group="airflow.plugins")):
    from tomas.airflow.plugin import TomasPlugin  # noqa: F401  Airflow collects it from here
