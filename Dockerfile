FROM python:3.11-slim
WORKDIR /opt/tomas
COPY . .
RUN pip install --no-cache-dir -c constraints.txt ".[airflow,tools,gpu]" redis \
    && useradd --create-home tomas && mkdir -p /var/lib/tomas/artifacts && chown tomas /var/lib/tomas/artifacts
USER tomas
ENV AIRFLOW_HOME=/home/tomas/airflow
