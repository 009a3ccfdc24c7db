#!/bin/sh
# Run once by the Postgres image: one role and one database for Airflow's metadata, one for TOMAS's store.
set -eu
psql -v ON_ERROR_STOP=1 --username postgres -v airflow="$AIRFLOW_DB_PASSWORD" -v tomas="$TOMAS_DB_PASSWORD" <<'SQL'
CREATE ROLE airflow LOGIN PASSWORD :'airflow';
CREATE DATABASE airflow OWNER airflow;
CREATE ROLE tomas LOGIN PASSWORD :'tomas';
CREATE DATABASE tomas OWNER tomas;
SQL
