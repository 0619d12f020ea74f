-- Bearer tokens. `hash` is the SHA-256 of the secret, which has 256 random bits: nobody guesses it, so a slow
-- hash would only cost time. `pattern` names the endpoints that the token is for; NULL: all.
CREATE TABLE tokens (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    hash BYTEA NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    pattern TEXT COLLATE "C",
    created_us BIGINT NOT NULL,
    expires_us BIGINT,
    revoked_us BIGINT
);
CREATE UNIQUE INDEX tokens_hash ON tokens (hash);

-- Tickets: good for one stream, and for half a minute. `holder` is a token's id, or who had none.
CREATE TABLE tickets (
    hash BYTEA PRIMARY KEY,
    holder TEXT COLLATE "C" NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    pattern TEXT COLLATE "C",
    expires_us BIGINT NOT NULL
);

-- Keys that all nodes share, made by the first that needs one.
CREATE TABLE secrets (
    name TEXT COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL
);

-- Raised with every change of tokens, so that nodes see at a glance whether they know them all.
INSERT INTO marks (name, seq) VALUES ('tokens', 0);
