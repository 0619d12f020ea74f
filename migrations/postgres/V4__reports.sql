-- What was caught, by time and kind, folded from the journal with the totals; nothing is taken off when captures
-- are removed. A row is of the span that begins at `at_us`: a minute, later merged into an hour, then into a day.
-- Endpoint '': those that found no room. Method `other`: none of the usual ones. Rule '': none applied.
CREATE TABLE rollups (
    span_us BIGINT NOT NULL,
    at_us BIGINT NOT NULL,
    endpoint TEXT COLLATE "C" NOT NULL,
    method TEXT COLLATE "C" NOT NULL,
    status BIGINT NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    captures BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (span_us, at_us, endpoint, method, status, rule)
);

-- Nodes that run: each writes its own row every other second. `seen_us` is by the database's clock. `detail` is JSON.
CREATE TABLE nodes (
    id TEXT COLLATE "C" PRIMARY KEY,
    since_us BIGINT NOT NULL,
    seen_us BIGINT NOT NULL,
    detail TEXT COLLATE "C" NOT NULL
);
