-- The fingerprint of all postings up to this one, in their order. A reader that keeps its place
-- outside this database knows by it whether the order is still the one it has counted in: after a
-- restore, the same numbers stand for other postings.
alter table postings add column trail bigint not null default 0;
