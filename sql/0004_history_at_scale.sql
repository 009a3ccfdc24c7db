-- Years of history: samples in partitions of a week, hourly rollups, what was refused, what plans cite.

-- Rows that could not become history: kept as text with the reason, so that nothing is lost without a trace.
CREATE TABLE rejected_row (
    digest      text PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('sample', 'record')),
    reason      text NOT NULL CHECK (reason <> ''),
    raw         text NOT NULL,
    rejected_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX rejected_row_at ON rejected_row (rejected_at);

ALTER TABLE sample RENAME TO sample_unpartitioned;

-- One CHECK over all amounts costs a bulk load a fraction of what twelve domains do. NaN sorts above any bound.
CREATE TABLE sample (
    bin                   text NOT NULL,
    at                    timestamptz NOT NULL,
    free_cpu_cores        double precision NOT NULL,
    free_cpu_mem_gb       double precision NOT NULL,
    free_gpu_sm           double precision NOT NULL,
    free_gpu_mem_gb       double precision NOT NULL,
    background_cpu_cores  double precision NOT NULL,
    background_cpu_mem_gb double precision NOT NULL,
    background_gpu_sm     double precision NOT NULL,
    background_gpu_mem_gb double precision NOT NULL,
    reserved_cpu_cores    double precision NOT NULL,
    reserved_cpu_mem_gb   double precision NOT NULL,
    reserved_gpu_sm       double precision NOT NULL,
    reserved_gpu_mem_gb   double precision NOT NULL,
    CONSTRAINT sample_key PRIMARY KEY (bin, at),
    CONSTRAINT sample_amounts CHECK (
        free_cpu_cores >= 0 AND free_cpu_cores < 1e15
        AND free_cpu_mem_gb >= 0 AND free_cpu_mem_gb < 1e15
        AND free_gpu_sm >= 0 AND free_gpu_sm < 1e15
        AND free_gpu_mem_gb >= 0 AND free_gpu_mem_gb < 1e15
        AND background_cpu_cores >= 0 AND background_cpu_cores < 1e15
        AND background_cpu_mem_gb >= 0 AND background_cpu_mem_gb < 1e15
        AND background_gpu_sm >= 0 AND background_gpu_sm < 1e15
        AND background_gpu_mem_gb >= 0 AND background_gpu_mem_gb < 1e15
        AND reserved_cpu_cores >= 0 AND reserved_cpu_cores < 1e15
        AND reserved_cpu_mem_gb >= 0 AND reserved_cpu_mem_gb < 1e15
        AND reserved_gpu_sm >= 0 AND reserved_gpu_sm < 1e15
        AND reserved_gpu_mem_gb >= 0 AND reserved_gpu_mem_gb < 1e15)
) PARTITION BY RANGE (at);
CREATE INDEX sample_time ON sample USING brin (at) WITH (autosummarize = on);

-- The partition of the week (from Monday, UTC) that an instant lies in, made where it is absent. ATTACH lets
-- readers and writers of the other weeks go on, which CREATE TABLE … PARTITION OF does not.
CREATE FUNCTION make_sample_partition(instant timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = tomas, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    monday timestamptz := date_trunc('week', instant);
    part text := to_char(monday, '"sample_"YYYYMMDD');
BEGIN
    -- Read from the catalogue itself: to_regclass remembers what was absent before the lock.
    IF EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = 'tomas'::regnamespace AND relname = part) THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('tomas:' || part, 0));
    IF EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = 'tomas'::regnamespace AND relname = part) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE sample INCLUDING CONSTRAINTS)', part);
    EXECUTE format('ALTER TABLE sample ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   part, monday, monday + interval '7 days');
END $$;

SELECT make_sample_partition(week)
FROM (SELECT DISTINCT date_trunc('week', at, 'UTC') AS week FROM sample_unpartitioned WHERE isfinite(at)) AS present;

CREATE TEMP TABLE refused ON COMMIT DROP AS
SELECT * FROM sample_unpartitioned
WHERE NOT isfinite(at) OR greatest(
    free_cpu_cores, free_cpu_mem_gb, free_gpu_sm, free_gpu_mem_gb,
    background_cpu_cores, background_cpu_mem_gb, background_gpu_sm, background_gpu_mem_gb,
    reserved_cpu_cores, reserved_cpu_mem_gb, reserved_gpu_sm, reserved_gpu_mem_gb) >= 1e15;
INSERT INTO rejected_row (digest, kind, reason, raw)
SELECT encode(sha256(convert_to(refused::text, 'UTF8')), 'hex'), 'sample', 'amount', refused::text FROM refused;
INSERT INTO sample
SELECT * FROM sample_unpartitioned AS old
WHERE NOT EXISTS (SELECT 1 FROM refused WHERE refused.bin = old.bin AND refused.at = old.at);
DROP TABLE sample_unpartitioned;

-- Per bin and hour, over the twelve amounts of a sample in their order.
CREATE TABLE sample_rollup (
    bin       text NOT NULL,
    hour      timestamptz NOT NULL,
    readings  integer NOT NULL CHECK (readings > 0),
    first_at  timestamptz NOT NULL,
    last_at   timestamptz NOT NULL,
    low       double precision[] NOT NULL,
    mean      double precision[] NOT NULL,
    high      double precision[] NOT NULL,
    quantiles double precision[] NOT NULL,
    PRIMARY KEY (bin, hour)
);
CREATE INDEX sample_rollup_hour ON sample_rollup (hour);

-- Hours whose rollup waits. Not unique on purpose: a mark that was set while the hour is being rolled up must stay.
CREATE TABLE sample_stale (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bin  text NOT NULL,
    hour timestamptz NOT NULL
);
INSERT INTO sample_stale (bin, hour) SELECT DISTINCT bin, date_trunc('hour', at, 'UTC') FROM sample;

-- Hours before this instant are closed: their readings may be gone, their rollups stay as they are.
CREATE TABLE sample_horizon (
    single       boolean PRIMARY KEY DEFAULT true CHECK (single),
    closed_until timestamptz NOT NULL
);

-- What a plan was made from. Retention spares the samples between both instants, which both belong to it.
ALTER TABLE plan ADD COLUMN samples_from timestamptz, ADD COLUMN samples_until timestamptz;
UPDATE plan SET samples_until = found.until, samples_from = found.until - interval '10 minutes'
FROM (SELECT id, substring(body -> 'snapshots' ->> 'samples'
          FROM '^[0-9]+ until ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[+-][0-9]{2}:[0-9]{2}))$')::timestamptz AS until
      FROM plan) AS found
WHERE plan.id = found.id AND found.until IS NOT NULL;
CREATE INDEX plan_samples ON plan (samples_from, samples_until) WHERE samples_from IS NOT NULL;

-- The edges beside the steps: reading them from the plan's body means to unpack its forecast, too.
ALTER TABLE plan_step ADD COLUMN depends_on text[] NOT NULL DEFAULT '{}';
UPDATE plan_step SET depends_on = found.before
FROM (SELECT plan.id, step ->> 'id' AS step_id,
             ARRAY(SELECT jsonb_array_elements_text(step -> 'depends_on')) AS before
      FROM plan, jsonb_array_elements(plan.body -> 'steps') AS step) AS found
WHERE plan_step.plan_id = found.id AND plan_step.step_id = found.step_id AND found.before <> '{}';

-- The newest records of each tool; the newest successes.
CREATE INDEX execution_record_tool ON execution_record (tool, ended_at DESC) WHERE ended_at IS NOT NULL;
CREATE INDEX execution_record_airflow ON execution_record (ended_at DESC)
    WHERE outcome = 'success' AND body ->> 'dag_id' IS NOT NULL;
CREATE INDEX planner_call_planner ON planner_call (planner, at DESC);
