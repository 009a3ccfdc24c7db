-- Released plans, their steps, and the capacity that the steps hold.

CREATE TABLE plan (
    id                     text PRIMARY KEY CHECK (id <> ''),
    idempotency_key        text UNIQUE,
    dag_id                 text,
    run_id                 text,
    task_id                text,
    map_index              integer,
    status                 text NOT NULL
                           CHECK (status IN ('released', 'running', 'succeeded', 'failed', 'superseded')),
    created_at             timestamptz NOT NULL,
    release_at             timestamptz NOT NULL,
    stored_at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    t_inf_actual_ms        amount,
    dispatch_lag_actual_ms amount,
    makespan_ms            amount NOT NULL,
    body                   jsonb NOT NULL,
    CHECK ((dag_id IS NULL) = (run_id IS NULL)
       AND (dag_id IS NULL) = (task_id IS NULL)
       AND (dag_id IS NULL) = (map_index IS NULL))
);
CREATE INDEX plan_origin ON plan (dag_id, run_id, task_id, map_index);
CREATE INDEX plan_stored_at ON plan (stored_at);

CREATE TABLE plan_step (
    plan_id        text NOT NULL REFERENCES plan ON DELETE CASCADE,
    step_id        text NOT NULL,
    position       integer NOT NULL CHECK (position >= 0),
    tool           text NOT NULL,
    bin            text NOT NULL,
    queue          text NOT NULL,
    pool           text NOT NULL,
    pool_slots     integer NOT NULL CHECK (pool_slots >= 1),
    cpu_cores      amount NOT NULL,
    cpu_mem_gb     amount NOT NULL,
    gpu_sm         amount NOT NULL,
    gpu_mem_gb     amount NOT NULL,
    latency_p50_ms amount NOT NULL,
    latency_p90_ms amount NOT NULL,
    start_ms       amount NOT NULL,
    end_ms         amount NOT NULL CHECK (end_ms >= start_ms),
    PRIMARY KEY (plan_id, step_id)
);

-- 'expired': nobody ended it, its time passed. A step that still runs takes it up again.
CREATE TABLE reservation (
    plan_id     text NOT NULL,
    step_id     text NOT NULL,
    bin         text NOT NULL,
    cpu_cores   amount NOT NULL,
    cpu_mem_gb  amount NOT NULL,
    gpu_sm      amount NOT NULL,
    gpu_mem_gb  amount NOT NULL,
    slots       integer NOT NULL CHECK (slots >= 1),
    start_at    timestamptz NOT NULL,
    end_at      timestamptz NOT NULL,
    state       text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'released', 'expired')),
    released_at timestamptz,
    PRIMARY KEY (plan_id, step_id),
    FOREIGN KEY (plan_id, step_id) REFERENCES plan_step ON DELETE CASCADE,
    CHECK (end_at >= start_at),
    CHECK ((state = 'active') = (released_at IS NULL))
);
CREATE INDEX reservation_active ON reservation (bin, start_at, end_at) WHERE state = 'active';
