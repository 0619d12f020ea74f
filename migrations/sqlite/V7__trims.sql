-- Each time that retention trims an endpoint has a number, in the order of commits, so that a reader is told of each
-- once. The mark `trims` is the newest.
ALTER TABLE endpoint_totals ADD COLUMN trim_number INTEGER NOT NULL DEFAULT 0;
UPDATE endpoint_totals SET trim_number = numbered.number
FROM (SELECT endpoint AS code, row_number() OVER (ORDER BY endpoint) AS number FROM endpoint_totals) AS numbered
WHERE endpoint_totals.endpoint = numbered.code;
INSERT INTO marks (name, seq) SELECT 'trims', count(*) FROM endpoint_totals;
