-- One long transaction whose pages spill into the file before it is committed.
PRAGMA cache_size = 100;
PRAGMA cache_spill = 50;
BEGIN IMMEDIATE;
CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT);
CREATE INDEX ta ON t (a);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 350000)
	INSERT INTO t SELECT i, (i * 7919) % 100003, hex(i * 31) || printf('%08d', i) FROM n;
SELECT count(*), sum(a) FROM t;
UPDATE t SET b = b || a WHERE a % 3 = 0;
DELETE FROM t WHERE a % 11 = 0;
SAVEPOINT s;
UPDATE t SET a = a + 1;
SELECT sum(a) FROM t;
ROLLBACK TO s;
COMMIT;
SELECT count(*), sum(a), sum(length(b)) FROM t;
SELECT b FROM t ORDER BY b LIMIT 5;
PRAGMA integrity_check;
