-- What TOMAS knows before it plans: tools, profiling history, worker bins and their samples.

-- A finite number that is not negative. Postgres sorts NaN above Infinity, so one upper bound refuses both.
CREATE DOMAIN amount AS double precision CHECK (VALUE >= 0 AND VALUE < 'Infinity');

CREATE TABLE tool (
    name        text PRIMARY KEY CHECK (name <> ''),
    position    integer GENERATED ALWAYS AS IDENTITY,
    fingerprint text NOT NULL,
    body        jsonb NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE profile (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tool         text NOT NULL CHECK (tool <> ''),
    input_size   text NOT NULL CHECK (input_size IN ('small', 'medium', 'large')),
    input_bytes  bigint NOT NULL CHECK (input_bytes >= 0),
    cpu_core     amount NOT NULL,
    cpu_mem_gb   amount NOT NULL,
    gpu_sm       amount NOT NULL CHECK (gpu_sm <= 100),
    gpu_mem_gb   amount NOT NULL,
    latency_ms   amount NOT NULL CHECK (latency_ms > 0),
    peak_mem_gb  amount NOT NULL,
    cpu_seconds  amount NOT NULL,
    output_bytes bigint NOT NULL CHECK (output_bytes >= 0),
    source       text NOT NULL CHECK (source IN ('measured', 'given')),
    measured_at  timestamptz
);
CREATE INDEX profile_tool ON profile (tool);

CREATE TABLE worker_class (
    name        text PRIMARY KEY CHECK (name <> ''),
    description text NOT NULL,
    cpu_cores   amount NOT NULL,
    cpu_mem_gb  amount NOT NULL,
    gpu_sm      amount NOT NULL,
    gpu_mem_gb  amount NOT NULL
);

-- A bin is one worker with a queue and a pool of its own. Its capacity is that of its class.
CREATE TABLE bin (
    name         text PRIMARY KEY CHECK (name <> ''),
    worker_class text NOT NULL REFERENCES worker_class ON DELETE CASCADE,
    position     integer NOT NULL,
    queue        text NOT NULL CHECK (queue <> ''),
    pool         text NOT NULL CHECK (pool <> ''),
    gpu_index    integer CHECK (gpu_index >= 0)
);
CREATE INDEX bin_worker_class ON bin (worker_class);

-- Readings of the worker sampler. No reference to bin: history outlives a bin.
CREATE TABLE sample (
    bin                   text NOT NULL,
    at                    timestamptz NOT NULL,
    free_cpu_cores        amount NOT NULL,
    free_cpu_mem_gb       amount NOT NULL,
    free_gpu_sm           amount NOT NULL,
    free_gpu_mem_gb       amount NOT NULL,
    background_cpu_cores  amount NOT NULL,
    background_cpu_mem_gb amount NOT NULL,
    background_gpu_sm     amount NOT NULL,
    background_gpu_mem_gb amount NOT NULL,
    reserved_cpu_cores    amount NOT NULL,
    reserved_cpu_mem_gb   amount NOT NULL,
    reserved_gpu_sm       amount NOT NULL,
    reserved_gpu_mem_gb   amount NOT NULL,
    PRIMARY KEY (bin, at)
);
CREATE INDEX sample_at ON sample USING brin (at);
