"""Operators: plan, tool, results."""

from tomas.airflow.operators.plan import TomasPlanOperator
from tomas.airflow.operators.results import TomasResultsOperator
from tomas.airflow.operators.tool import TomasToolOperator

__all__ = ["TomasPlanOperator", "TomasResultsOperator", "TomasToolOperator"]
