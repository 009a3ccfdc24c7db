-- What happened, and what was learned from it.

-- One row per try of a step. No reference to plan: a plan file can be run without being stored.
CREATE TABLE execution_record (
    plan_id      text NOT NULL CHECK (plan_id <> ''),
    step_id      text NOT NULL CHECK (step_id <> ''),
    try_number   integer NOT NULL CHECK (try_number >= 1),
    tool         text NOT NULL,
    bin          text NOT NULL,
    host         text NOT NULL,
    outcome      text NOT NULL CHECK (outcome IN
                 ('running', 'success', 'failed', 'out_of_memory', 'timeout', 'killed')),
    started_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    input_bytes  bigint NOT NULL CHECK (input_bytes >= 0),
    output_bytes bigint NOT NULL CHECK (output_bytes >= 0),
    wall_ms      amount NOT NULL,
    waited_ms    amount NOT NULL,
    peak_mem_gb  amount NOT NULL,
    cpu_seconds  amount NOT NULL,
    body         jsonb NOT NULL,
    -- The heartbeat of a running try: a worker that was killed stops refreshing it.
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (plan_id, step_id, try_number)
);
CREATE INDEX execution_record_ended_at ON execution_record (ended_at);
CREATE INDEX execution_record_running ON execution_record (bin) WHERE ended_at IS NULL;

CREATE TABLE planner_call (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at              timestamptz NOT NULL,
    planner         text NOT NULL CHECK (planner <> ''),
    task_chars      integer NOT NULL CHECK (task_chars >= 0),
    tools           integer NOT NULL CHECK (tools >= 0),
    steps           integer NOT NULL CHECK (steps >= 0),
    t_inf_ms        amount NOT NULL,
    dispatch_lag_ms amount,
    plan_id         text,
    error           text
);
CREATE INDEX planner_call_at ON planner_call (at);
CREATE INDEX planner_call_plan ON planner_call (plan_id);

CREATE TABLE model_version (
    version        text PRIMARY KEY,
    kind           text NOT NULL CHECK (kind <> ''),
    payload        jsonb NOT NULL,
    payload_hash   text NOT NULL,
    interval_start timestamptz NOT NULL,
    interval_end   timestamptz NOT NULL CHECK (interval_end >= interval_start),
    metrics        jsonb NOT NULL,
    parent         text,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    promoted       boolean NOT NULL DEFAULT false,
    promoted_at    timestamptz,
    UNIQUE (kind, interval_start, interval_end, payload_hash)
);
CREATE UNIQUE INDEX model_version_promoted ON model_version (kind) WHERE promoted;
