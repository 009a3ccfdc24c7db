-- What a model version was made from, where its files lie, and every promotion, so that one can be taken back.

ALTER TABLE model_version
    ADD COLUMN code_version    text NOT NULL DEFAULT '',
    ADD COLUMN data_hash       text,
    ADD COLUMN artifact_uri    text,
    ADD COLUMN artifact_sha256 text CHECK (artifact_sha256 ~ '^[0-9a-f]{64}$'),
    ADD COLUMN artifact_bytes  bigint CHECK (artifact_bytes >= 0),
    ADD CHECK ((artifact_uri IS NULL) = (artifact_sha256 IS NULL)
           AND (artifact_uri IS NULL) = (artifact_bytes IS NULL));

-- The current version of a kind is that of its last promotion that was not taken back.
CREATE TABLE model_promotion (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text NOT NULL,
    version    text NOT NULL REFERENCES model_version ON DELETE CASCADE,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    taken_back_at timestamptz
);
CREATE INDEX model_promotion_kind ON model_promotion (kind, id);

INSERT INTO model_promotion (kind, version, at)
SELECT kind, version, coalesce(promoted_at, created_at) FROM model_version WHERE promoted;
