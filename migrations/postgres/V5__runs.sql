-- Runs: each has the codes behind its prefix to itself. It began behind the entry start_seq, and closing began behind
-- end_seq. `labels` and `counts` are JSON; counts are what was caught, kept before any of it is removed. `token` is the
-- id of its own token, `opened_by` who opened it.
CREATE TABLE runs (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    labels TEXT COLLATE "C" NOT NULL,
    prefix TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    captures TEXT COLLATE "C" NOT NULL,
    opened_us BIGINT NOT NULL,
    expires_us BIGINT NOT NULL,
    closing_us BIGINT,
    closed_us BIGINT,
    epoch BIGINT NOT NULL,
    start_seq BIGINT NOT NULL,
    start_id BYTEA,
    end_seq BIGINT,
    token TEXT COLLATE "C",
    opened_by TEXT COLLATE "C",
    made BIGINT NOT NULL,
    passed BIGINT NOT NULL,
    counts TEXT COLLATE "C"
);
CREATE UNIQUE INDEX runs_prefix ON runs (prefix);
CREATE INDEX runs_unclosed ON runs (expires_us) WHERE state <> 'closed';
CREATE INDEX runs_closed ON runs (closed_us) WHERE state = 'closed';
CREATE INDEX runs_opened_by ON runs (opened_by) WHERE token IS NOT NULL;

-- What was asked of runs, and what came of it.
CREATE TABLE run_verifications (
    run TEXT COLLATE "C" NOT NULL,
    place BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    passed BIGINT NOT NULL,
    why TEXT COLLATE "C",
    at_us BIGINT NOT NULL,
    took_us BIGINT NOT NULL,
    PRIMARY KEY (run, place)
);

-- Held by whoever opens a run, so that there are never more than there may be.
INSERT INTO marks (name, seq) VALUES ('runs', 0);
